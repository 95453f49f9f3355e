"""Tables as text: cells, terminal, Markdown, LaTeX, CSV, JSON and plots. Numbers come ready from leaderboards.table."""
