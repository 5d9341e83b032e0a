"""The version of a learner grows with each change."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters
from progress.projections import replay as letter_replay
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.stage import append, connect


def test_a_replay_that_waits_for_a_concurrent_fold_gets_a_higher_version_than_the_fold(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    sample_events.poison(connection, "ann")
    Projector(connection).catch_up_all()
    model_rows.read_value(connection, "mend")
    (letter,) = dead_letters.list_letters(connection)
    append(connection, sample_events.lesson("ann", 4))
    with closing(connect(store.url)) as replaying, ThreadPoolExecutor(1) as pool:
        pid = model_rows.read_value(replaying, "pid")
        with database.transaction(connection):
            model_rows.read_value(connection, "hold the learner", user="ann")
            replay = pool.submit(letter_replay.replay, replaying, letter.letter_id)
            while not model_rows.read_value(connection, "waits", pid=pid):
                connection.run("SELECT pg_stat_clear_snapshot()")
            Projector(connection).catch_up_all()
            folded = model_rows.read_value(connection, "version", user="ann")
        assert replay.result() is None
    assert model_rows.read_value(connection, "version", user="ann") > folded
