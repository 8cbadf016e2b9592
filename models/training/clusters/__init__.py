"""Where to cut the vocabulary: the paper's computation-time model, planned and measured."""
