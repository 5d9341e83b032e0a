"""Live updates: the subscribers of an instance, and what feeds them."""
