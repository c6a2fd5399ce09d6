"""Numbers added to a player's loss."""
