"""`headfirst bench`: ours beside every way that a skilled user of torch has, timed in turn in one run."""
