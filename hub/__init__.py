"""Places that adapters are published to and fetched from. The network is used here and nowhere else."""
