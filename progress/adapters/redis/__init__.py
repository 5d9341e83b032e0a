"""Redis: its protocol, one client for each way of waiting, and our keys and channels."""
