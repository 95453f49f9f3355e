"""Tables, statistics and comparisons over finished runs."""
