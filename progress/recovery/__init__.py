"""Recovery: check the log and the read models, dump and load the log, free a shard."""
