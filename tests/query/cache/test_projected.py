"""What an answer says of the projections: how far they have come, at least."""

import asyncio
from collections.abc import Iterator

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections.projector import Projector
from progress.query.cache import cache, versions
from tests.conftest import Store
from tests.support import cache_instances, model_rows, sample_events
from tests.support.cache_instances import Instance
from tests.support.stage import publisher


@pytest.fixture
def one(store: Store) -> Iterator[Instance]:
    with cache_instances.instances(store, None, 1) as (made,):
        yield made


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question is put to the database."""
    monkeypatch.setattr(versions, "YOUNG", 0)
    monkeypatch.setattr(cache, "YOUNG", 0)


def position(instance: Instance) -> int:
    told = instance.run(instance.cache.projected_to())
    assert told is not None
    return int(told.position)


@pytest.mark.usefixtures("anew")
def test_all_events_up_to_the_position_are_projected_and_the_next_is_not(
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


@pytest.mark.usefixtures("anew")
def test_its_time_is_that_of_the_event(one: Instance, connection: Connection) -> None:
    assert one.run(one.cache.projected_to()) == cache.ProjectedTo("0", None)
    sample_events.record_lessons(connection, "ann")
    Projector(connection, publisher=publisher()).catch_up_all()
    told = one.run(one.cache.projected_to())
    assert told
    assert told.time == model_rows.read_value(connection, "newest")


def test_a_hundred_who_ask_within_a_second_ask_the_database_once(
    one: Instance, connection: Connection
) -> None:
    async def hundred() -> None:
        for _ in range(2):
            await asyncio.gather(*(one.cache.projected_to() for _ in range(50)))

    one.run(hundred())
    assert len(one.reader.asked) == 1


@pytest.mark.usefixtures("anew")
def test_without_a_database_it_is_what_was_known(one: Instance, connection: Connection) -> None:
    lost = Instance("postgresql://nobody@127.0.0.1:1/none", None)
    assert lost.run(lost.cache.projected_to()) is None
    sample_events.record_lessons(connection, "ann")
    Projector(connection, publisher=publisher()).catch_up_all()
    known = position(one)
    lost.cache._versions.last = one.cache._versions.last
    assert position(lost) == known
    lost.close()
