"""What is counted and measured, in one process or in several."""
