"""What a run will need before anything is loaded: memory by phase, seconds by phase, tokens, disk."""
