"""One call of a model, from its body to its answer."""
