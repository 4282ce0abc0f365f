"""What is written and read back: results, progress, locks."""
