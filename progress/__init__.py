"""Progress: the event log of a vocabulary app, and the learners' statistics computed from it."""
