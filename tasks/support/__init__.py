"""What task files share: sources, golds, reading rules, prompts, drawings, the proof of a task."""
