"""The socket between the HTTP workers and the engine process."""
