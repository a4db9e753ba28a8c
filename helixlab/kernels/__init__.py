"""Pure jitted functions: arrays in, arrays out."""
