"""Lists of a learner with 20,000 items, compared with `knowledge` of the same learner."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing

from bench import logs, query_costs
from bench.lines import Line, Rounds
from bench.server import Server
from bench.statements import blocks

_DAYS, _ANSWERS, _FRESH = 400, 100, 50  # the learner meets 20,000 items
_ITEMS, _LISTS, _LISTED = 20_000, 200, 100_000
_ROUNDS = 20

_NUMBERS = "items itemsStudied progressRate due expected expectedDate masteredLast28Days"
_BASE = "knowledge"
_DOCUMENTS = {
    _BASE: "{ knowledge { items expected fading levels { level items expected fading } } }",
    "own lists": f"{{ lists(first: 20) {{ totalCount edges {{ node {{ id {_NUMBERS} }} }} }} }}",
    "lists of a scale": f"""{{ lists(scale: "S", first: 20) {{
        totalCount edges {{ node {{ id {_NUMBERS} }} }} }} }}""",
    "list": f'{{ list(listId: "all") {{ {_NUMBERS} }} }}',
}
_BARS = {"own lists": 2.0, "lists of a scale": 2.0, "list": 1.5}


def measure_lists(server: Server) -> Iterator[Line]:
    """Measure 200 own lists, 200 of the catalogue with as many items, and one of all items."""
    store = server.create_store()
    (learner,) = logs.fill_studies(
        store, learners=1, days=_DAYS, answers=_ANSWERS, fresh=_FRESH, items=_ITEMS
    )
    with closing(store.connect()) as connection:
        sizes = {"user_id": learner, "lists": _LISTS, "listed": _LISTED // _ITEMS}
        for statement in blocks("lists").values():
            connection.run(statement, **{n: v for n, v in sizes.items() if f":{n}" in statement})
    rounds = asyncio.run(_measure(store.url, learner))
    for what, bar in _BARS.items():
        size = f"{_ITEMS:,} items" if what == "list" else f"20 of {_LISTS}, {_LISTED:,} items"
        yield rounds.compare_costs(f"{what}, {size}", what, _BASE, against=_BASE, bar=bar)
    server.drop(store)


async def _measure(url: str, learner: str) -> Rounds:
    """Return the milliseconds of each document, one request after another."""
    rounds = Rounds()
    async with query_costs.open_database(url, learner, "learner", explains=False) as costing:
        for number in range(_ROUNDS + 2):
            for what, text in _DOCUMENTS.items():
                begin = time.perf_counter()
                answer, _ = await costing.answer(text)
                assert not answer.errors, answer.errors
                if number > 1:  # the first rounds are a warm-up
                    rounds.add(what, 1_000 * (time.perf_counter() - begin))
    return rounds
