"""The Redis channels that announce changes; each message is the new version."""

EVERYONE = "changed:everyone"  # Changes that may concern any learner.
LEARNER = "changed:learner:"  # followed by an id
OPERATION = "changed:operation:"  # followed by an id
