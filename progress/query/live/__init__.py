"""Live updates: the subscribers of an instance, and the sources of their updates."""
