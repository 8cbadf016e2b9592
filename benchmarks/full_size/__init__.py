"""Published checkpoints at their full size, with random weights: import, load, answer."""
