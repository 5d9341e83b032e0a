"""Redis: its language, a client of it for each way of waiting, and what of ours stands in it."""
