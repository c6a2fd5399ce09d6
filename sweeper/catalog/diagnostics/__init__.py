"""What is concluded from watching training, which it never touches."""
