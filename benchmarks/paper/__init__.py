"""The paper's table with this project's layers, and what they cost when serving."""
