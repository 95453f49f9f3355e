"""Rollouts in, a better policy out. Engine, renderer and evaluator come as objects from harness.pipeline."""
