"""How a Headfirst model is asked: HTTP, batching, metrics and the command line."""

__version__ = "0.1.0"
