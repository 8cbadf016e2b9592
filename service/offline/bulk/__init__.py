"""Scoring a data set: JSON lines or Parquet in, the same rows with scores out, in parts."""
