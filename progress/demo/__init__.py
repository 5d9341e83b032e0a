"""What `make demo` shows: a real learner's record, through every part of the stack."""
