"""Kinds of events: their targets, what is known exactly about them, and how they are read."""
