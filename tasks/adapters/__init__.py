"""Tasks without a task file: jsonl files and lm-eval, in and out."""
