"""What FineTUI knows and does: no screen, no network, and no torch outside ``worker/``."""
