"""Copies of the read models' versions in Redis; queries check cache entries against the copies.

A copy expires at most five seconds after its version was committed to the database or read from it.
A copy is never replaced by an older version. A late writer, or a writer with an old result from the
database, therefore cannot hide a change. If the notification of a change is lost, queries see the
change once the copy expires.
"""

import time

TTL_S = 5.0  # If a notification is lost, responses are out of date for at most this time.

# Kinds of versions. Each schema has its own versions, because two revisions may serve at the same
# time.
CATALOGUE = "catalogue"
BATCH = "batch"  # Weekly, domain and level stats.
SWAP = "schema"  # Set by the rebuild that made this schema the live one.


def learner_key(schema: str, user_id: str) -> str:
    """Return the key of a learner's version."""
    return f"version:{schema}:learner:{user_id}"


def shared_key(schema: str, kind: str) -> str:
    """Return the key of a version that all learners share."""
    return f"version:{schema}:{kind}"


def expires_at_ms(known_at: float) -> int:
    """Return the expiry of a copy as Unix time in ms.

    `known_at` is a monotonic time, taken before the copy's version was committed or read.
    """
    return int((time.time() + TTL_S - (time.monotonic() - known_at)) * 1000)
