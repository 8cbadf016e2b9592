"""`config.json`: architecture, bodies, tokenization."""
