"""The Redis keys that hold copies about one learner.

A learner's id may contain any character. The other parts of a key contain no colon, so that the id
can be read from the key.
"""

# The number of parts before and after the learner's id in the keys of each kind.
_PARTS = {"summary": (1, 0), "query": (2, 1), "stats": (3, 0), "version": (3, 0), "rate": (1, 1)}


def summary_key(user_id: str) -> str:
    """Return the key of the learner's summary."""
    return f"summary:{user_id}"


def query_key(name: str, user_id: str, params: str) -> str:
    """Return the key of a root field's result; `params` is a hash of the request."""
    return f"query:{name}:{user_id}:{params}"


def period_key(period: str, last_day: object, user_id: str) -> str:
    """Return the key of results about finished periods."""
    return f"stats:{period}:{last_day}:{user_id}"


def rate_key(caller: str, minute: int) -> str:
    """Return the key of the number of the caller's requests in a minute."""
    return f"rate:{caller}:{minute}"


def find_learner(key: str) -> str | None:
    """Return the id of the learner whom a key is about, or None."""
    parts = key.split(":")
    before, after = _PARTS.get(parts[0], (0, 0))
    is_shared = parts[0] == "version" and parts[2:3] != ["learner"]  # see version_keys
    if not before or is_shared or len(parts) <= before + after:
        return None
    return ":".join(parts[before : len(parts) - after])
