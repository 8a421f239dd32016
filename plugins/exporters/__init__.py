"""Forms that models are exported in, one file each."""
