"""The name of a group: the latest that an event of any learner gives it."""

import itertools
from datetime import timedelta

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections.projector import Projector
from tests.support import definition_folds, sample_events, stage
from tests.support.api import Api
from tests.support.sample_events import BEGIN, Envelope, envelope


def join(user: str, minute: int, name: str | None, number: int = 0) -> Envelope:
    data = {"user_id": user, "group_id": "g", "group_name": name}
    made = envelope("LearnerJoinedGroup", data, at=BEGIN + timedelta(minutes=minute))
    return made | {"event_id": f"00000000-0000-4000-8000-{100 * minute + number:012}"}


def about(kind: str, user: str, **data: str) -> Envelope:
    return envelope(kind, {"user_id": user, **data}, at=BEGIN + timedelta(hours=1))


def fold(connection: Connection, *events: Envelope) -> None:
    stage.append(connection, [*events])
    Projector(connection).catch_up_all()
    assert sample_events.find_differences(connection) == []


def name(api: Api, group: str = "g") -> str | None:
    """Return the name of the group, which has members."""
    names = set()
    for fields in ("name", "name members"):
        text = f"query ($id: ID!) {{ group(groupId: $id) {{ {fields} }} }}"
        names.add(api.post(text, "ada", roles="support", id=group)["data"]["group"]["name"])
    found: str | None
    (found,) = names
    return found


@pytest.mark.first_in_gate
@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_the_latest_name_of_any_learner_counts_in_any_order_of_arrival(
    query_api: Api, connection: Connection, order: tuple[int, ...]
) -> None:
    joins = [
        join("bob", 2, "second"),
        join("cid", 2, "third", number=1),
        join("ann", 3, ""),
    ]
    for place in order:
        fold(connection, joins[place])
    assert name(query_api) == "third"
    assert definition_folds.find_differences(connection) == []


def test_a_name_goes_with_its_event_and_its_learner_but_stays_if_the_learner_leaves(
    query_api: Api, connection: Connection
) -> None:
    joins = [join("ann", 1, "first"), join("bob", 2, "second"), join("cid", 3, "third")]
    fold(connection, join("ann", 4, None), *joins)
    fold(connection, about("LearnerLeftGroup", "cid", group_id="g"))
    assert name(query_api) == "third"
    retraction = about("EventRetracted", "cid", retracted_event_id=joins[2]["event_id"])
    fold(connection, retraction)
    assert name(query_api) == "second"
    fold(connection, about("UserDeleted", "bob"))
    assert name(query_api) == "first"
    fold(connection, about("EventRetracted", "ann", retracted_event_id=joins[0]["event_id"]))
    assert name(query_api) is None
    assert definition_folds.find_differences(connection) == []
