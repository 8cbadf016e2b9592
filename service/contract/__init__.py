"""What every room may know: messages, answers, errors, what an engine is. Imports no other room."""
