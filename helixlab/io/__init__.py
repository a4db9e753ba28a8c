"""Files in, values out: maps, particle tables."""
