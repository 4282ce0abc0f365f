"""What every picture is made with: the look, letters, colours, animation."""
