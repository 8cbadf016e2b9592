"""Measurements: one command each, results with date, machine and commit in `results/`."""
