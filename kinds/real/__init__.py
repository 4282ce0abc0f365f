"""Numbers on a line or in a plane, and bins of a line."""
