"""What everything else stands on, and what knows nothing of it: errors, files, signals, random numbers."""
