"""Flow rewards read from hidden states (RLFR, arXiv 2510.10201)."""
