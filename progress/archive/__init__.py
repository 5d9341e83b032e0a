"""The archive: the event log as Parquet files, grouped by a hash of the learner's id."""
