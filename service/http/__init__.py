"""Bytes in, bytes out: the only room that knows the web."""
