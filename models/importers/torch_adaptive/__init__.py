"""Any LSTM with torch's AdaptiveLogSoftmaxWithLoss, described by a TOML file."""
