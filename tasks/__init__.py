"""One file per benchmark: where its data is, how a row becomes an Example, and the benchmark's own answer rule."""
