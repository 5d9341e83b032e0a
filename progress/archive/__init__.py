"""The archive: the accepted log as Parquet files, hashed by learner."""
