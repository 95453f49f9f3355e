"""Engines turn prompts into rollouts: transformers, recorded."""
