"""Transformer-XL: Hugging Face's, the authors' PyTorch, NVIDIA's."""
