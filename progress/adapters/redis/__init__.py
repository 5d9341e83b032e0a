"""Redis: the commands and keys, an asynchronous client, and maintenance."""
