"""Progress: the event log of a vocabulary app, and the learners' statistics computed from it."""

__version__ = "0.3.0"
