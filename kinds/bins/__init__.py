"""Events that are one of several bins of a line, seen by families as one-hot rows."""
