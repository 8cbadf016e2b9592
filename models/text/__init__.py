"""Text to words to ids, and back."""
