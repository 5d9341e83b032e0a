"""What learners still know: PostgreSQL's time for the fields that read the state of every item."""

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import closing

from bench import query_costs
from bench.lines import Line, limit
from bench.server import Server, Store
from bench.statements import blocks

_MEMBERS, _ITEMS, _ROUNDS = 30, 20_000, 20
_FIELDS = (
    ("knowledge", '{ knowledge(userId: "user-1") { expected fading levels { expected } } }', 10.0),
    ("group.knowledge", '{ group(groupId: "g") { knowledge { items expected } } }', 150.0),
    ("group.itemsFading", '{ group(groupId: "g") { itemsFading { itemId learners } } }', 400.0),
    (
        "learners.expectedKnown",
        '{ learners(groupId: "g") { edges { node { expectedKnown } } } }',
        150.0,
    ),
)


def measure_knowledge(server: Server) -> Iterator[Line]:
    """Measure each field, for a learner or a group whose members have 20,000 items each."""
    store = server.create_store()
    with closing(store.connect()) as connection:
        for statement in blocks("knowledge").values():
            sizes = {"members": _MEMBERS, "items": _ITEMS}
            connection.run(statement, **{n: v for n, v in sizes.items() if f":{n}" in statement})
    for name, document, bar in _FIELDS:
        took = asyncio.run(_measure(store, document))
        size = f"{_ITEMS:,} items" + (f" of each of {_MEMBERS} members" if "." in name else "")
        yield limit(f"PostgreSQL's time for {name}, {size}", took, bar, "ms")
    server.drop(store)


async def _measure(store: Store, document: str) -> float:
    """Return the milliseconds of PostgreSQL's CPU time: the median of the rounds."""
    milliseconds = []
    async with query_costs.open_database(store.url, "sue", "support", explains=False) as costing:
        for number in range(_ROUNDS + 2):
            before = store.cpu_microseconds() if number > 1 else 0.0
            answer, _ = await costing.answer(document)
            assert not answer.errors, answer.errors
            if number > 1:
                milliseconds.append((store.cpu_microseconds() - before) / 1_000)
    return statistics.median(milliseconds)
