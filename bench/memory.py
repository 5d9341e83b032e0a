"""The memory of the functions `project` and `query` under load.

For the function `ingest`, see the benchmark `ingest`.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import uvloop

from bench import function_client, functions, load, logs
from bench.lines import Line
from bench.server import Server
from progress.projections.projector import SHARDS

_AT_ONCE = 80
_QUESTIONS = (
    "{ userProgress { totalItemsLearned accuracyRate masteryStats { learning } } }",
    "{ itemStats(first: 100) { edges { node { itemId headword mastery } } } }",
    '{ dailyStats(from: "2025-01-01", to: "2025-12-31", zeroFill: true) { date answers } }',
)


def measure_load(server: Server) -> Iterator[Line]:
    """Send the function `project` a wake-up for each shard, all at once.

    Then send requests to the function `query`, 80 at a time.
    """
    store = server.create_store()
    logs.fill(store, learners=100, sessions=20)
    with ExitStack() as stack:
        issuer = stack.enter_context(function_client.serve_issuer())
        environment = {"DATABASE_URL": store.url, **issuer.environment}
        wakes = [function_client.encode_wake_up(shard) for shard in SHARDS]
        project = stack.enter_context(functions.run("project", **environment))
        uvloop.run(load.run(project.port, wakes, len(wakes)))
        yield _line("project", project)
        learners = logs.learners(store, events=1)
        questions = [issuer.encode_query(q, user) for user in learners for q in _QUESTIONS]
        query = stack.enter_context(functions.run("query", **environment))
        uvloop.run(load.run(query.port, questions * 10, _AT_ONCE))
        yield _line("query", query)
    server.drop(store)


def _line(name: str, function: functions.Function) -> Line:
    megabytes = function.memory()
    return Line(
        f"memory of {name} under load",
        f"{megabytes:.0f} MB",
        "",
        megabytes,
        200,
        "MB",
        at_most=True,
    )
