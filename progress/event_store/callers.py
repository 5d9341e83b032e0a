"""The callers that are not people. Their names begin with `system:`.

No token may have such a `sub`. Otherwise, its bearer would be the starter of these callers'
operations, and could read them.
"""

_SYSTEM = "system:"


def name_system(name: str) -> str:
    """Return the id of a caller that is not a person."""
    return f"{_SYSTEM}{name}"


def is_reserved(caller: str) -> bool:
    """Return whether a person may not have this id."""
    return caller.startswith(_SYSTEM)
