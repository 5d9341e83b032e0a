"""A rebuild fills a second schema and swaps it in; an interrupted rebuild leaves no trace."""

import contextlib
import itertools

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import RebuildRunning
from progress.event_store import dead_letters
from progress.projections import batch, rebuild, replacement, schema
from progress.projections import replay as letter_replay
from progress.projections.projector import Projector
from progress.projections.replacement import Holder
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.postgres_servers import url_of
from tests.support.recovery_fixtures import USERS, folded_learners
from tests.support.stage import append, connect

pytestmark = pytest.mark.every_postgres

__all__ = ["folded_learners"]


@pytest.fixture
def populated(folded_learners: tuple[str, ...], connection: Connection) -> Connection:
    return connection


def test_an_interrupted_rebuild_leaves_no_trace_and_can_be_run_again(
    store: Store, populated: Connection
) -> None:
    def interrupt(folded: int, total: int) -> None:
        if folded:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild.run(lambda: database.connect(store.url), on_progress=interrupt)
    assert model_rows.read_value(populated, "schemas") == 1

    def study_at_the_end(folded: int, total: int) -> None:
        if folded == total:
            append(populated, sample_events.lesson("u0", 40))

    folded = rebuild.run(lambda: database.connect(store.url), on_progress=study_at_the_end)
    assert folded == model_rows.read_value(populated, "head")
    batch.run(populated)
    assert model_rows.read_value(populated, "schemas") == 1
    assert not sample_events.find_differences(populated)


@pytest.mark.first_in_gate
@pytest.mark.parametrize("suffix", ["building", "retired"])  # retired: after the swap
def test_a_rebuild_drops_the_schema_of_a_killed_rebuild(
    store: Store, populated: Connection, suffix: str
) -> None:
    schema.create(populated, f"{schema.schema_name()}_{suffix}")
    schema.set_search_path(populated)
    rebuild.run(lambda: database.connect(store.url))
    assert model_rows.read_value(populated, "schemas") == 1
    assert not sample_events.find_differences(populated)


def test_only_one_rebuild_runs_at_a_time_and_the_error_names_what_runs(
    store: Store, populated: Connection
) -> None:
    observer = url_of(store.url, "query")  # without the right to see others' sessions
    for holder, limit_s in itertools.product(Holder, (None, 90.5)):
        begin = "2[0-9-]{9} [0-9:]{8} UTC"
        end = "will end by [0-9:]{8} UTC" if limit_s else "has no time limit"
        text = f"^{holder} has been running since {begin} and {end}: wait until it ends$"
        with (
            replacement.hold_lock(populated, holder, limit_s),
            pytest.raises(RebuildRunning, match=text),
        ):
            rebuild.run(lambda: database.connect(observer))
    assert populated.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [[0]]


def test_an_unknown_holder_of_the_lock_is_described_by_what_it_may_be(
    store: Store, populated: Connection
) -> None:
    populated.run("SELECT pg_advisory_lock(hashtext('rebuild'), 0)")
    with pytest.raises(RebuildRunning, match="a rebuild or an erasure is running: wait"):
        rebuild.run(lambda: database.connect(store.url))


def test_a_rebuild_makes_a_poisoned_event_a_dead_letter_whose_replay_during_the_next_is_not_lost(
    store: Store, populated: Connection
) -> None:
    sample_events.poison(populated, "u1")
    rebuild.run(store.connect)
    (letter,) = dead_letters.list_letters(populated)
    assert letter.kind == "poisoned"
    batch.run(populated)
    assert not sample_events.find_differences(populated)

    model_rows.read_value(populated, "mend")
    with replacement.open_replacement(store.connect) as second:
        rebuild.fold(store.connect)
        assert letter_replay.replay(populated, letter.letter_id) is None
        replacement.swap(second)
    batch.run(populated)
    assert not sample_events.find_differences(populated)


def test_a_wake_up_for_a_shard_that_the_swap_has_locked_is_not_lost(
    store: Store, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, renamed = model_rows.read_value(populated, "shard", user="u1"), replacement.former_name

    def meanwhile() -> str:
        if not populated.run("SELECT pg_try_advisory_lock(hashtext(current_schema()), 0)")[0][0]:
            append(populated, sample_events.lesson("u1", 4))
            assert Projector(populated).catch_up(shard) == 0
        populated.run("SELECT pg_advisory_unlock_all()")
        return renamed()

    monkeypatch.setattr(replacement, "former_name", meanwhile)
    rebuild.run(lambda: database.connect(store.url))
    assert Projector(populated).find_shards_behind() == []
    assert model_rows.read_value(populated, "head") == 8 * len(USERS) * 4 + 3 + 8


def test_a_former_schema_that_is_being_read_is_dropped_later(
    store: Store, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacement, "_DROP_TRIES", 1)
    with contextlib.closing(connect(store.url)) as reader:
        reader.run("BEGIN")
        model_rows.read_value(reader, "answered")
        rebuild.run(lambda: database.connect(store.url))
        assert model_rows.read_value(populated, "schemas") == 2
    assert not sample_events.find_differences(populated)
    replacement.drop(populated, replacement.former_name())
    assert model_rows.read_value(populated, "schemas") == 1
