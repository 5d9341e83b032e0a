"""The outside world; nothing here imports the domain."""
