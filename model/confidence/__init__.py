"""How far a propagated label can be trusted, told without any ground truth."""
