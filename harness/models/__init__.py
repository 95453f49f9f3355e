"""Policies: find, load, name, size and render them."""
