"""What the functions hold under load; for ingest see there."""

from collections.abc import Iterator
from contextlib import ExitStack

import uvloop

from bench import asking, functions, load, logs
from bench.lines import Line
from bench.server import Server
from progress.projections.projector import SHARDS

_AT_ONCE = 80
_QUESTIONS = (
    "{ userProgress { totalItemsLearned accuracyRate masteryStats { learning } } }",
    "{ itemStats(first: 100) { edges { node { itemId headword mastery } } } }",
    '{ dailyStats(from: "2025-01-01", to: "2025-12-31", zeroFill: true) { date answers } }',
)


def under_load(server: Server) -> Iterator[Line]:
    """Project woken for every shard at once, then query asked by 80 at once."""
    store = server.store()
    logs.fill(store, learners=100, sessions=20)
    with ExitStack() as stack:
        issuer = stack.enter_context(asking.issuer())
        told = {"DATABASE_URL": store.url, **issuer.environment}
        wakes = [asking.wake_up(shard) for shard in SHARDS]
        project = stack.enter_context(functions.running("project", **told))
        uvloop.run(load.run(project.port, wakes, len(wakes)))
        yield _line("project", project)
        learners = logs.learners(store, events=1)
        questions = [issuer.question(q, user) for user in learners for q in _QUESTIONS]
        query = stack.enter_context(functions.running("query", **told))
        uvloop.run(load.run(query.port, questions * 10, _AT_ONCE))
        yield _line("query", query)
    server.drop(store)


def _line(name: str, function: functions.Function) -> Line:
    held = function.memory()
    return Line(f"memory of {name} under load", f"{held:.0f} MB", "", held, 200, "MB", at_most=True)
