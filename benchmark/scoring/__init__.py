"""Scores of samples and models, each with the floor that a perfect model has."""
