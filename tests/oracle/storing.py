"""The stored and pending events of a log whose order of arrival does not matter.

The order does not matter if no id has two contents and no two learners start the same session.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.oracle.events import CATALOGUE, LEARNERS, NEWEST

Envelope = Mapping[str, Any]


def compute_stored(log: Iterable[Envelope]) -> tuple[dict[str, str | None], set[str]]:
    """Return the ids of stored events with their learners, and the ids of pending events.

    The function assumes that the types in NEWEST were not yet declared when the log was stored. An
    event of an undeclared type is never pending: it is stored even if its learner is unknown. If
    such an event names no learner, its learner depends on the order of arrival and is None in the
    result.
    """
    log = list(log)
    owners = {
        e["data"]["session_id"]: own_learner(e) for e in log if e["event_type"] == "SessionStarted"
    }
    stored: dict[str, str | None] = {}
    pending: set[str] = set()
    for event in log:
        known = event["event_type"] in {*LEARNERS, *CATALOGUE}.difference(NEWEST)
        learner = own_learner(event)
        if learner is None and event["event_type"] not in CATALOGUE and known:
            learner = owners.get(event["data"].get("session_id"))
        if known and learner is None and event["event_type"] not in CATALOGUE:
            pending.add(event["event_id"])
        else:
            stored[event["event_id"]] = learner
    return stored, pending


def own_learner(event: Envelope) -> str | None:
    """Return the learner that the event names."""
    if event["event_type"] in CATALOGUE:
        return None
    user_id: str | None = event["data"].get("user_id") or (event.get("metadata") or {}).get(
        "user_id"
    )
    return user_id
