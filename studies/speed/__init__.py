"""How fast the suite is, beside other ways to do the same work, and how its cost grows."""
