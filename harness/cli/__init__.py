"""The `rlfr-eval` command: verbs, flags and what they print."""
