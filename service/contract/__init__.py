"""What every room may know: messages, answers, errors, numbers. Imports no other room."""
