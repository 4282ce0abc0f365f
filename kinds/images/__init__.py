"""The kind of events that are images: grey, RGB, or RGB with depth."""
