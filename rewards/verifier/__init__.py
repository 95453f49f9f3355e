"""Decides correctness, in worker processes, without torch. The only package that imports math_verify."""
