"""How the defaults were chosen."""
