"""Data sets, and the store they are packed into."""
