"""Channels in Redis: on each, that something has changed is published, with its version."""

EVERYONE = "changed:everyone"  # what may change anybody's standing
LEARNER = "changed:learner:"  # and an id
OPERATION = "changed:operation:"  # and an id
