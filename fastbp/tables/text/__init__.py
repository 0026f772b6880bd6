"""Text files of comma-separated values and their kin."""
