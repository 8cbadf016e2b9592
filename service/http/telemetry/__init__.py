"""What is kept of each request: its record, metrics, traces."""
