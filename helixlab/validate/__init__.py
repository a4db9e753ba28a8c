"""Is this map what it claims to be? FSC."""
