"""Pictures of one kind each, drawn from arrays."""
