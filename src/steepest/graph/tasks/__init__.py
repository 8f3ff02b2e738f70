"""Tasks on graphs that need no download; found by the registry of tasks, for it walks every room's ``tasks``."""
