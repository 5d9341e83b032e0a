"""Progress: records what learners do, and derives every number from the record."""
