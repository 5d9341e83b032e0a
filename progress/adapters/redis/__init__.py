"""Redis: the commands, a blocking and an asynchronous client, and the keys and channels."""
