"""The one path from a task to a table, and its records."""
