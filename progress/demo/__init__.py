"""The demo: a real learner's record, loaded through every part of the stack and shown."""
