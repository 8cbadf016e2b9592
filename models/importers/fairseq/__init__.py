"""fairseq's transformer and convolutional language models."""
