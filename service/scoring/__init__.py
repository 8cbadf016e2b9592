"""What is asked of texts that are scored, and what their words' log-probabilities make of it: lines, spans,
groups, regions, unknown words."""
