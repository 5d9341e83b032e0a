"""The schedules of the claims: appends, folds and deletions in the order that a report describes.

Each function runs its schedule, and says in a few words what an operator then sees.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.projections import batch, rebuild
from progress.projections.projector import Projector
from tests.support import model_rows
from tests.support.event_logs import Envelope
from tests.trust.logs import ANN, DAY, MINUTE, event, study
from tests.trust.place import Place

_BEGIN = datetime(2024, 7, 18, 18, tzinfo=UTC)


def commit_the_ninth_last(place: Place, _now: datetime) -> str:
    """Append twelve events; the ninth stays in an open transaction while the later ones arrive.

    The folds run before and after its commit. Each event is about another learner of one shard.
    """
    learners = list(itertools.islice(_learners_of_one_shard(place.connection), 12))
    events = [_complete(learner) for learner in learners]
    for one in events[:8]:
        place.append([one])
    slow, writers = place.connect(), [place.connect() for _ in events[9:]]
    pids = [model_rows.read_value(writer, "pid") for writer in writers]
    slow.run("BEGIN")
    place.append([events[8]], slow)
    with ThreadPoolExecutor() as pool:
        running = [
            pool.submit(place.append, [e], w) for e, w in zip(events[9:], writers, strict=True)
        ]
        try:
            for pid, append in zip(pids, running, strict=True):
                while not (
                    append.done() or model_rows.read_value(place.connection, "waits", pid=pid)
                ):
                    pass
            place.fold()
        finally:
            slow.run("COMMIT")
    for append in running:
        append.result()
    place.fold()
    stored = len(model_rows.read_events(place.connection))
    folded = {user for user, _ in model_rows.read_rows(place.connection)["user_progress"]}
    missing = [str(n) for n, learner in enumerate(learners, 1) if learner not in folded]
    return f"stored {stored}, projected {len(folded)}, missing: {', '.join(missing) or 'none'}"


def _learners_of_one_shard(connection: Connection) -> Iterator[str]:
    """Yield the learners l0, l1 … that are in the shard of l0."""
    first = model_rows.read_value(connection, "shard", user="l0")
    for name in (f"l{n}" for n in itertools.count()):
        if model_rows.read_value(connection, "shard", user=name) == first:
            yield name


def _complete(learner: str) -> Envelope:
    data = {"session_id": f"of {learner}", "score": 80, "duration_seconds": 60}
    return event("SessionCompleted", _BEGIN, user_id=learner, **data)


def read_to_the_end_and_restart(place: Place, _now: datetime) -> str:
    """Append a full window, fold up to the end of the log, and restart the worker; 20 times.

    After a full window, a worker reads once more, and finds an empty window.
    """
    rounds, size, ahead = 20, 4, 0
    shard = model_rows.read_value(place.connection, "shard", user=ANN)
    for n in range(rounds):
        at = _BEGIN + n * DAY
        answer = {"session_id": f"s{n}", "item_id": "word", "response_time_ms": 2_500}
        place.append([event("CorrectAnswerGiven", at + k * MINUTE, **answer) for k in range(size)])
        Projector(place.connect()).catch_up(shard, limit=size)
        checkpoints = model_rows.read_table(place.connection, "checkpoints")
        head = model_rows.read_value(place.connection, "head")
        ahead += any(row["position"] > head for row in checkpoints)
    place.fold()
    answers = model_rows.read_value(place.connection, "answered")
    return f"ahead in {ahead} of {rounds} rounds, projected {answers} of {rounds * size}"


def ask_for_all_answers(place: Place, _now: datetime) -> str:
    """Record four years of answers, try to delete them, rebuild, and ask for all of them."""
    begin = datetime(2019, 5, 1, 18, tzinfo=UTC)
    place.append([e for n in range(24) for e in study(begin + 60 * n * DAY, "word", days=60)])
    place.fold()
    with contextlib.suppress(*database.ERRORS):
        place.connect().run("DELETE FROM event_store.events WHERE event_type LIKE '%AnswerGiven'")
    rebuild.run(functools.partial(database.connect, place.url, name="rebuild"))
    batch.run(place.connection)
    kinds = ("CorrectAnswerGiven", "IncorrectAnswerGiven")
    answers = place.ask(place.queries.get_recorded_events(ANN, first=100, types=kinds))
    return f"answers that can be read: {len(answers)}"
