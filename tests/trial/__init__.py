"""The machinery of one trial."""
