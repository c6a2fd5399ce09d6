"""What every entry of the catalog owes the rest, tested on each of them."""
