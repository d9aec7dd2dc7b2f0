"""Pure functions on the score table."""
