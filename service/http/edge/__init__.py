"""What happens before a request is a call: bounds, key, places, one shape for errors."""
