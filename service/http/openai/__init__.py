"""The OpenAI completions API."""
