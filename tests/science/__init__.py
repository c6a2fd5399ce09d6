"""What theory says of the dynamics of a game."""
