"""Recovery: check the log and the read models, back up and restore read models, free a shard."""
