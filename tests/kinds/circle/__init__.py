"""Angles on a circle, a kind of events that only tests know: `test_new_kind` puts this package among the others."""
