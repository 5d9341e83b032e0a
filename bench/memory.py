"""The memory of `project` and `query` under load; `ingest` measures that of ingest."""

from collections.abc import Iterator

from bench import function_client, functions, logs, request_batch
from bench.lines import Line, limit
from bench.request_batch import RequestBatch
from bench.server import Server
from progress.projections.projector import SHARDS

_AT_ONCE = 80
_QUESTIONS = (
    "{ userProgress { totalItemsLearned accuracyRate masteryStats { learning } } }",
    "{ itemStats(first: 100) { edges { node { itemId headword mastery } } } }",
    '{ dailyStats(from: "2025-01-01", to: "2025-12-31", zeroFill: true) { date answers } }',
)


def measure_load(server: Server) -> Iterator[Line]:
    """Send a wake-up for each shard at once to `project`, then requests to `query`, 80 at once."""
    store = server.create_store()
    logs.fill(store, learners=100, sessions=20)
    wakes = [function_client.encode_wake_up(shard) for shard in SHARDS]
    with functions.run_query(server, store) as query:
        with functions.run("project", **query.environment) as project:
            request_batch.send(RequestBatch(project.port, wakes, b"", len(wakes)))
            yield limit("memory of project under load", project.memory(), 200, "MB")
        questions = [
            function_client.encode_query(question, user)
            for user in logs.list_learners(store, events=1)
            for question in _QUESTIONS
        ]
        request_batch.send(RequestBatch(query.port, questions * 10, at_once=_AT_ONCE))
        yield limit("memory of query under load", query.memory(), 200, "MB")
    server.drop(store)
