"""Regression tests of a method: conformance, cost, learning, pinned numbers."""
