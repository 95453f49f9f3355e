"""What engines share: sampling, caches, response records, weight names."""
