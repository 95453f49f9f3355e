"""The one path from questions to graded responses, for training, validation and evaluation."""
