"""Recovery: check the log and the read models, back them up, restore them, free a shard."""
