"""The model without a server, for files and pipes."""
