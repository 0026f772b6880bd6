"""Everything that is decided before a step runs: where arrays lie, how work is cut and shared out, by which sizes."""
