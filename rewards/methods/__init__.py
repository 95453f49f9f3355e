"""One module per method; the file name is the method's key."""
