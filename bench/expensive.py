"""The most expensive document that the limits allow, found by its rows and buffers."""

import asyncio
import bisect
import statistics
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    get_named_type,
    is_object_type,
    is_required_argument,
)

from bench import costs, daily, study
from bench.costs import Costing
from bench.lines import Line
from bench.server import Server, Store
from bench.statements import blocks
from progress.adapters.postgres import database
from progress.errors import TooComplex
from progress.query.auth import Role
from progress.query.execution import documents, root_fields
from progress.query.execution.selections import QUERY

ROLES: tuple[Role, ...] = ("learner", "support", "admin")
# Rows and buffers, of 200,000 events and 20,000 items, that fit the bars at 0.4 and 0.75 µs each.
WORK = {"the present": 2_500_000, "the past": 4_000_000}
SMALL = 10  # times less is in the database in which a document is searched

_MOST = 32  # fields of a document: aliases, and more
_FIRST, _MIXED = 4, 8  # fields, the most expensive ones: that documents begin with, and have
_ROUNDS = 5
_BARS = {"the present": 1_000.0, "the past": 3_000.0}
_DAYS, _ANSWERS, _FRESH = 625, 160, 32  # 200,625 events, 20,000 items
_LETTERS = 20_000


@dataclass(frozen=True)
class Ask:
    """A root field with its arguments, as GraphQL writes them."""

    name: str
    arguments: dict[str, str] = field(default_factory=dict)
    work: int = 0

    def text(self, alias: str, inside: str | None = None) -> str:
        """It in a document."""
        given = ", ".join(f"{name}: {value}" for name, value in self.arguments.items())
        selected = _selection(QUERY.fields[self.name].type) if inside is None else inside
        return f"{alias}: {self.name}{f'({given})' if given else ''}{selected}"


def _selection(shape: Any) -> str:
    """All fields of a type, in braces; empty for a scalar."""
    named = get_named_type(shape)
    if not is_object_type(named):
        return ""
    inside = (name + _selection(each.type) for name, each in named.fields.items())
    return f" {{ {' '.join(inside)} }}"


def document(asks: Sequence[Ask]) -> str:
    """A document that asks for all of it."""
    return f"{{ {' '.join(each.text(f'a{n}') for n, each in enumerate(asks))} }}"


@dataclass
class Search:
    """Searches the schema for the most expensive document of a caller."""

    costing: Costing
    learner: str
    past: bool

    async def run(self) -> str:
        """The document. A field counts with the arguments that cost most."""
        found = [await self._climb(name) for name in QUERY.fields]
        asks = sorted(filter(None, found), key=lambda each: -each.work)[:_MIXED]
        if self.past:
            asks = [self._at(each, days) for days in range(1, 5) for each in asks]
        fillings = [self._fill([first, *asks]) for first in asks[:_FIRST]]
        return document(max(fillings, key=lambda each: sum(ask.work for ask in each)))

    async def _climb(self, name: str) -> Ask | None:
        """The field with the arguments that cost most, found one argument after the other."""
        arguments = QUERY.fields[name].args
        if self.past and "asOf" not in arguments:
            return None
        best = Ask(name)
        for each, argument in arguments.items():
            if is_required_argument(argument) or each == "userId":
                best.arguments[each] = self._values(each, argument)[0]
        if self.past:
            best = self._at(best, 1)
        best = await self._measure(best)
        for each, argument in arguments.items():
            values = await self._cursors(best) if each == "after" else self._values(each, argument)
            for value in values:
                other = replace(best, arguments={**best.arguments, each: value})
                best = max(best, await self._measure(other), key=lambda ask: ask.work)
        return best

    async def _measure(self, ask: Ask) -> Ask:
        answer, work = await self.costing.answer(document([ask]))
        return replace(ask, work=0 if answer.errors else work)

    async def _cursors(self, ask: Ask) -> list[str]:
        """The cursor that a list's next page begins at, where it has one."""
        text = f"{{ {ask.text('a', ' { pageInfo { endCursor } }')} }}"
        answer, _ = await self.costing.answer(text)
        found = msgspec.json.decode(answer.data or b"null")
        cursor = found and found["a"]["pageInfo"]["endCursor"]
        return [f'"{cursor}"'] if cursor else []

    def _values(self, name: str, argument: GraphQLArgument) -> list[str]:
        """The values of an argument that may be the dearest; KeyError for an unknown type."""
        shape = get_named_type(argument.type)
        if isinstance(shape, GraphQLEnumType):
            return sorted(shape.values)
        day = self.costing.context.at.date()
        values: dict[str, list[str]] = {
            "Boolean": ["true", "false"],
            "Int": ["1", "200", "366"],
            "Date": [f'"{day - timedelta(days=730 if name == "from" else 0)}"'],
            "DateTime": [],  # of the past: see _at
            "String": ['["Nothing"]' if name == "types" else '"w"'],
            "ID": [f'"{self.learner}"' if name == "userId" else '"item-7"'],
        }
        return values[shape.name]

    def _at(self, ask: Ask, days: int) -> Ask:
        """It, about a moment so many days ago."""
        moment = self.costing.context.at - timedelta(days=days)
        return replace(ask, arguments={**ask.arguments, "asOf": f'"{moment.isoformat()}"'})

    def _fill(self, asks: Sequence[Ask]) -> list[Ask]:
        """As many of the first as the limits allow, then of the second, and so on."""
        chosen: list[Ask] = []
        for each in asks:
            most = 1 if self.past else _MOST - len(chosen)  # equal ones about the past are one
            counts = range(1, most + 1)
            times = bisect.bisect(
                counts, 0, key=lambda n: not self._is_allowed(chosen + [each] * n)
            )
            chosen += [each] * times
        return chosen

    def _is_allowed(self, asks: Sequence[Ask]) -> bool:
        found = documents.read(document(asks), introspection=False)
        operation = found.operation(None)
        try:
            return operation is not None and bool(
                root_fields.split(operation, None, self.costing.context)
            )
        except TooComplex:
            return False


async def find(url: str, learner: str, role: Role, *, past: bool) -> tuple[str, int]:
    """The most expensive document of a caller with that role, and its rows and buffers."""
    async with costs.opened(url, learner, role) as costing:
        text = await Search(costing, learner, past).run()
        answer, work = await costing.answer(text)
        if answer.errors:
            raise RuntimeError(f"{text}: {answer.errors[0]}")
        return text, work


def fill(store: Store, *, times_less: int) -> str:
    """A learner with 200,000 events and 20,000 items, or so many times less; and dead letters."""
    days, per_day = (_DAYS, 1) if times_less == 1 else (_DAYS // 5, times_less // 5)
    with closing(database.connect(store.url)) as connection:
        connection.run(blocks("expensive")["letters"], letters=_LETTERS // times_less)
    (learner,) = study.fill(
        store,
        learners=1,
        days=days,
        answers=_ANSWERS // per_day,
        fresh=_FRESH // per_day,
        items=20_000 // times_less,
    )
    return learner


def of_all_documents(server: Server) -> Iterator[Line]:
    """The document that the search finds in a tenth, measured in the whole."""
    small, large = server.store(), server.store()
    learner = fill(small, times_less=SMALL)
    fill(large, times_less=1)
    for role in ROLES:
        for what, bar in _BARS.items():
            text, _ = asyncio.run(find(small.url, learner, role, past=what == "the past"))
            took = asyncio.run(_took(large, learner, role, text))
            yield Line(
                f"the most expensive document about {what}, {role}: PostgreSQL's time",
                f"{took:.0f} ms",
                "200,000 events, 20,000 items",
                took,
                bar,
                "ms",
                at_most=True,
            )
    server.drop(small)
    server.drop(large)


async def _took(store: Store, learner: str, role: Role, text: str) -> float:
    """Milliseconds that the sessions in the database compute for the document."""
    took: list[float] = []
    async with costs.opened(store.url, learner, role, explains=False) as costing:
        for number in range(_ROUNDS + 1):
            before = daily.spent(store) if number else 0.0
            answer, _ = await costing.answer(text)
            if answer.errors:
                raise RuntimeError(f"{text}: {answer.errors[0]}")
            if number:  # the sessions are open, and the statements prepared
                took.append((daily.spent(store) - before) / 1_000)
    return statistics.median(took)
