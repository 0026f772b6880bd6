"""Helpers shared by every package: argument checks, random streams, HTML tables, atomic file writes."""
