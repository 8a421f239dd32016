"""Base models and adapters on disk: scan, index, digest, lineage. The filesystem is the truth, the index can go."""
