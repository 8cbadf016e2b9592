"""Checkpoints read without running any code in them."""
