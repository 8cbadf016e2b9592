"""Weights as a file: floats, or integers of 8 bits with their scales; checked when they are read."""
