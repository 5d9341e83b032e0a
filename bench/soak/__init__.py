"""A soak test: an hour of load on the local stack, with a kill every 30 s."""
