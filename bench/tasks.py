"""A task of 2,000 items in a group of 300 learners, compared with the other fields of the group."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing

from bench import query_costs
from bench.lines import Line, Rounds
from bench.server import Server
from bench.statements import blocks

_SIZES = {"members": 300, "met": 1_000, "items": 2_500, "listed": 2_000}
_ROUNDS = 20

_BASE = "group"
_MEMBERS = "members { edges { node { userId displayName known knownNow done } } }"
_FIELDS = {  # what a class's page asks about its group, in two requests
    _BASE: (
        """name members activeLast7Days answersLast7Days accuracyLast7Days atRisk
        weeks { start activeMembers answers accuracyRate }
        hardestItems { itemId headword level learners answers accuracyRate }""",
        "knowledge { items expected } itemsFading { itemId headword level learners answered }",
    ),
    "task": (f"tasks {{ edges {{ node {{ listId dueOn items done {_MEMBERS} }} }} }}",),
}


def measure_tasks(server: Server) -> Iterator[Line]:
    """Measure a task with its first 50 members, one request after another."""
    store = server.create_store()
    sizes = {**_SIZES, "group": query_costs.GROUP}
    with closing(store.connect()) as connection:
        for statement in blocks("tasks").values():
            connection.run(statement, **{n: v for n, v in sizes.items() if f":{n}" in statement})
    rounds = asyncio.run(_measure(store.url))
    size = "a task of 2,000 items in a group of 300 learners with 1,000 items each"
    yield rounds.compare_costs(size, "task", _BASE, against="group", bar=3.0)
    server.drop(store)


async def _measure(url: str) -> Rounds:
    """Return the milliseconds of what is asked, one request after another."""
    rounds = Rounds()
    async with query_costs.open_database(url, "sue", "support", explains=False) as costing:
        for number in range(_ROUNDS + 2):
            for what, requests in _FIELDS.items():
                begin = time.perf_counter()
                for fields in requests:
                    text = f'{{ group(groupId: "{query_costs.GROUP}") {{ {fields} }} }}'
                    answer, _ = await costing.answer(text)
                    assert not answer.errors, answer.errors
                if number > 1:  # the first rounds are a warm-up
                    rounds.add(what, 1_000 * (time.perf_counter() - begin))
    return rounds
