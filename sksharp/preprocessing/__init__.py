"""Tables of mixed columns as features."""
