"""The callers of operations that are not people.

Their names begin with `system:`. No token may have such a `sub`. Otherwise, its bearer would be the
starter of these callers' operations, and could read them.
"""

_PREFIX = "system:"

COMMAND_LINE = f"{_PREFIX}command line"
BATCH_JOB = f"{_PREFIX}batch job"
DELETION = f"{_PREFIX}deletion"  # cancels the exports of a learner who is deleted
# `sql/operations/erase_user.sql` also has `system:erasure`, which cancels exports.


def is_reserved(name: str) -> bool:
    """Return whether a person may not have this id."""
    return name.startswith(_PREFIX)
