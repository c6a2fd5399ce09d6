"""Whatever else changes a noun of the training step."""
