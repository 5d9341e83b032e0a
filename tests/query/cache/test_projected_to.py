"""`projectedTo` is the position up to which all events are in the projections."""

import asyncio
from collections.abc import Iterator

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections.projector import Projector
from progress.query.cache import versions
from tests.conftest import Store
from tests.support import cache_instances, model_rows, sample_events
from tests.support.cache_instances import Instance
from tests.support.stage import publisher


@pytest.fixture
def one(store: Store) -> Iterator[Instance]:
    with cache_instances.instances(store, None, 1) as (instance,):
        yield instance


@pytest.fixture
def always_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each call read the versions from the database."""
    monkeypatch.setattr(versions, "MAX_AGE_S", 0)


def position(instance: Instance) -> int:
    projected_to = instance.run(instance.cache.versions.projected_to())
    assert projected_to is not None
    return int(projected_to.position)


@pytest.mark.usefixtures("always_read")
def test_all_events_up_to_the_position_are_projected_and_the_next_event_is_not(
    one: Instance, connection: Connection
) -> None:
    assert position(one) == 0
    sample_events.record_lessons(connection, "ann", "ben", "cat", "dan")
    projector = Projector(connection, publisher=publisher())
    head = model_rows.read_value(connection, "head")
    while waiting := projector.find_shards_behind():
        reached = position(one)
        assert model_rows.read_value(connection, "unfolded up to", position=reached) == 0
        assert model_rows.read_value(connection, "unfolded up to", position=reached + 1) == 1
        projector.fold_window(waiting[0], 3)
    assert position(one) == head


@pytest.mark.usefixtures("always_read")
def test_the_returned_time_is_the_time_of_the_event_at_the_position(
    one: Instance, connection: Connection
) -> None:
    assert one.run(one.cache.versions.projected_to()) == versions.ProjectedTo("0", None)
    sample_events.record_lessons(connection, "ann")
    Projector(connection, publisher=publisher()).catch_up_all()
    projected_to = one.run(one.cache.versions.projected_to())
    assert projected_to
    assert projected_to.time == model_rows.read_value(connection, "newest")


def test_a_hundred_calls_within_a_second_share_one_statement(
    one: Instance, connection: Connection
) -> None:
    async def hundred() -> None:
        for _ in range(2):
            await asyncio.gather(*(one.cache.versions.projected_to() for _ in range(50)))

    one.run(hundred())
    assert len(one.reader.statements) == 1


@pytest.mark.usefixtures("always_read")
def test_the_last_known_position_is_returned_if_the_database_is_unavailable(
    one: Instance, connection: Connection
) -> None:
    lost = Instance("postgresql://nobody@127.0.0.1:1/none", None)
    assert lost.run(lost.cache.versions.projected_to()) is None
    sample_events.record_lessons(connection, "ann")
    Projector(connection, publisher=publisher()).catch_up_all()
    known = position(one)
    lost.cache.versions.last = one.cache.versions.last
    assert position(lost) == known
    lost.close()
