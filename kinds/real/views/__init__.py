"""Pictures of families' own views on a line and in a plane."""
