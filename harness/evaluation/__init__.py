"""Rollouts become samples, samples become results."""
