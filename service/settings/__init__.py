"""What can be set: flags, environment variables, files of keys, models to load."""
