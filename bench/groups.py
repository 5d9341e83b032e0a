"""Queries about a group with 10,000 members among 200,000 learners."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing

from bench import machine_speed, query_costs
from bench.lines import Line
from bench.machine_speed import TimedRequest
from bench.server import Server, Store
from bench.statements import blocks

_MEMBERS, _OTHERS = 10_000, 190_000
_DAYS, _ITEMS = 90, 10_000  # the catalogue of the demo has 10,000 words
_ROUNDS = 100
_LIMIT = 100.0  # milliseconds
_LIMITS = {"weeks": 200.0}  # reads twelve rows of each member

_STANDING = "members activeLast7Days answersLast7Days accuracyLast7Days atRisk"
_MEMBER = """userId lastStudyDate currentStreak answersLast7Days accuracyLast7Days totalItemsLearned
    atRisk riskReasons"""
_ITEM = "itemId headword level learners answers accuracyRate averageResponseMs lapses"
_DOCUMENTS = {
    "group": f'{{ group(groupId: "g") {{ {_STANDING} }} }}',
    **{
        f"learners, {order}": f"""{{ learners(groupId: "g", orderBy: {order}) {{
            totalCount edges {{ node {{ {_MEMBER} }} }} }} }}"""
        for order in ("AT_RISK", "INACTIVE", "ACCURACY", "STREAK", "URGENCY")
    },
    "weeks": '{ group(groupId: "g") { weeks { start activeMembers answers accuracyRate } } }',
    "learners, weeks": """{ learners(groupId: "g") {
        edges { node { userId weeks { start answers accuracyRate } } } } }""",
    "hardestItems": f'{{ group(groupId: "g") {{ hardestItems {{ {_ITEM} }} }} }}',
    "itemDifficulty": f"{{ itemDifficulty {{ totalCount edges {{ node {{ {_ITEM} }} }} }} }}",
}


def measure_groups(server: Server) -> Iterator[Line]:
    """Measure each field about a group, one request after another."""
    store = server.create_store()
    _fill(store, [*blocks("groups")], others=_OTHERS)
    for what, requests in asyncio.run(_measure(store.url, _DOCUMENTS)).items():
        size = f"{_MEMBERS:,} of {_MEMBERS + _OTHERS:,} learners, {_ITEMS:,} items in 16 shards"
        yield machine_speed.compare_p95(f"{what}, {size}", requests, bar=_LIMITS.get(what, _LIMIT))
    server.drop(store)


def _fill(store: Store, names: list[str], *, others: int) -> None:
    """Run these blocks of `groups.sql`, in order."""
    sizes = {"members": _MEMBERS, "others": others, "days": _DAYS, "items": _ITEMS}
    with closing(store.connect()) as connection:
        for statement in map(blocks("groups").__getitem__, names):
            connection.run(statement, **{n: v for n, v in sizes.items() if f":{n}" in statement})


async def _measure(url: str, documents: dict[str, str]) -> dict[str, list[TimedRequest]]:
    requests: dict[str, list[TimedRequest]] = {what: [] for what in documents}
    async with query_costs.open_database(url, "sue", "support", explains=False) as costing:
        for number in range(_ROUNDS + 2):
            for what, text in documents.items():
                before = machine_speed.time_loop()
                begin = time.perf_counter()
                answer, _ = await costing.answer(text)
                seconds = time.perf_counter() - begin
                assert answer.data, what
                assert not answer.errors, answer.errors
                if number > 1:  # the first rounds are a warm-up
                    loop = max(before, machine_speed.time_loop())
                    requests[what].append(TimedRequest(seconds, loop))
    return requests
