"""The conformance suite: every technique does what its paper says, shown by numbers."""
