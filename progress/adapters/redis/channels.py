"""The Redis channels that announce changes; a message contains the new version's number."""

EVERYONE = "changed:everyone"  # Changes that may concern any learner.
LEARNER = "changed:learner:"  # Followed by the id of the changed learner.
OPERATION = "changed:operation:"  # Followed by the id of the changed operation.
