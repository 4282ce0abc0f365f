"""Measurements of what the suite reaches."""
