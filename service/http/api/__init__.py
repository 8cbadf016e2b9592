"""The HTTP routes, thin: parse, submit to the engine, answer."""
