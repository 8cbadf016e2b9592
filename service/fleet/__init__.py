"""Which models are served, and loading them again."""
