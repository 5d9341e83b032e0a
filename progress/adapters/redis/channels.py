"""The Redis channels that announce changes; each message is the new version."""

EVERYONE = "changed:everyone"  # Changes that may concern any learner.
LEARNER = "changed:learner:"  # Changes of the learner whose id follows.
OPERATION = "changed:operation:"  # Changes of the operation whose id follows.
