"""What becomes of a configuration: a run, a replay or a sweep, with its scores, files and pictures."""
