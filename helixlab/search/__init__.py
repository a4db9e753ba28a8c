"""From a map to its helical symmetry."""
