"""How long an answer takes about a text of 2,000 words, of a learner and of a class."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from bench import envelopes, logs, query_costs
from bench.lines import Line, Rounds
from bench.query_costs import GROUP
from bench.server import Server, Store
from progress.auth import Role
from progress.event_store import log
from progress.projections.projector import Projector

_ROUNDS = 30
_WORDS, _ITEMS, _PUPILS = 2_000, 20_000, 30
_ANSWERS = 80  # a day, each about a new item
_TEXT = [f"item-{n + 1}" for n in range(_WORDS)]
# A request has at most 1,000 words for each of two fields.
_VARIABLES = {
    name: [{"itemId": item, "count": 1 + n % 9} for n, item in enumerate(half)]
    for name, half in (("a", _TEXT[::2]), ("b", _TEXT[1::2]))
}
_BY_VARIABLES = "query ($a: [CoverageItem!]!, $b: [CoverageItem!]!)"
_COUNTED = "items tokens covered gaps { itemId headword level count adds"
_TEXTS = {
    "learner": """{ a: coverage(items: $a) { ...Text } b: coverage(items: $b) { ...Text } }
        fragment Text on Coverage { %s estimatedRecall } learned itemsStudied learning
            shortTermMastered longTermMastered }""",
    "teacher": """{ group(groupId: "g") { a: coverage(items: $a) { ...Text }
            b: coverage(items: $b) { ...Text } } }
        fragment Text on GroupCoverage { %s learners } members { userId displayName covered } }""",
}
# What the page asks about a list, and about a group: more than one request may read.
_USUAL = {
    "learner": [
        """{ list(listId: "text") { items itemsStudied learning shortTermMastered longTermMastered
            expected } }"""
    ],
    "teacher": [
        """{ group(groupId: "g") { name members activeLast7Days answersLast7Days accuracyLast7Days
            atRisk inactive lowAccuracy neverStudied
            weeks { start activeMembers answers accuracyRate }
            hardestItems(first: 10) { itemId headword level learners answers accuracyRate } } }""",
        """{ group(groupId: "g") { knowledge { items expected }
            itemsFading(first: 10) { itemId headword level learners answered } } }""",
    ],
}


def compare_texts(server: Server) -> Iterator[Line]:
    """Compare a text with a list of its words, and that of a class with its other numbers."""
    store = server.create_store()
    (learner,) = _fill(store, learners=1, days=_ITEMS // _ANSWERS)
    rounds = asyncio.run(_measure(store, learner, "learner"))
    what = "a text of 2,000 words of a learner with 20,000"
    yield rounds.compare_costs(what, "text", "usual", against="a list of them:", bar=1.5)
    store = server.create_store()
    _fill(store, learners=_PUPILS, days=_WORDS // _ANSWERS)
    rounds = asyncio.run(_measure(store, "tess", "teacher"))
    what = f"a text of 2,000 words of a class of {_PUPILS}"
    yield rounds.compare_costs(what, "text", "usual", against="the class's other numbers:", bar=3)


def _fill(store: Store, *, learners: int, days: int) -> list[str]:
    """Let learners, who are a class, answer new items each day; list the words of the text."""
    users = logs.fill_studies(
        store, learners=learners, days=days, answers=_ANSWERS, fresh=_ANSWERS, items=_ITEMS
    )
    told = [envelopes.join_group(user, GROUP) for user in users]
    with closing(store.connect()) as connection:
        log.append(connection, [envelopes.delivery([*told, *envelopes.list_items("text", _TEXT)])])
        Projector(connection).catch_up_all()
    return users


async def _measure(store: Store, caller: str, role: Role) -> Rounds:
    rounds = Rounds()
    text = f"{_BY_VARIABLES} {_TEXTS[role] % _COUNTED}"
    asked: dict[str, list[tuple[str, dict[str, Any] | None]]] = {
        "text": [(text, _VARIABLES)], "usual": [(each, None) for each in _USUAL[role]],
    }  # fmt: skip
    async with query_costs.open_database(store.url, caller, role, explains=False) as database:
        for number in range(_ROUNDS):
            for name, requests in asked.items():
                begin = time.perf_counter()
                answers = [await database.answer(*request) for request in requests]
                milliseconds = 1_000 * (time.perf_counter() - begin)
                if errors := [answer.errors for answer, _ in answers if answer.errors]:
                    raise RuntimeError(f"{name}: {errors[0]}")
                if number > 2:  # the first ones fill caches
                    rounds.add(name, milliseconds)
    return rounds
