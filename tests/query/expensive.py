"""Search for the allowed GraphQL document that reads the most rows and buffers."""

import bisect
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    get_named_type,
    is_object_type,
    is_required_argument,
)

from bench import envelopes, logs, query_costs
from bench.query_costs import Costing
from bench.server import Store
from progress.adapters.postgres import database, statements
from progress.auth import Role
from progress.event_store import log
from progress.projections.projector import Projector
from progress.query.execution import documents
from progress.query.execution.documents import Rejected
from tests.support.api import QUERY

# A document may read at most this number of rows plus buffers. In November 2026, the most expensive
# document about the present took PostgreSQL 348 ms, for ten times as many events and items.
WORK = {"the present": 550_000, "the past": 2_200_000}

# An upper bound that no document reaches. The search gives each root field an alias, and a
# document may have at most 30 aliases.
_MAX_FIELDS = 32
# The search builds a document for each of the `_FIRST` most expensive fields. The document begins
# with this field and continues with the `_MIXED` most expensive fields.
_FIRST, _MIXED = 4, 8
_DAYS, _ANSWERS, _FRESH, _ITEMS = 125, 80, 16, 2_000
_LETTERS = 2_000
_SQL = Path(__file__).with_suffix("")


@dataclass(frozen=True)
class FieldCall:
    """A root field with its arguments in GraphQL syntax."""

    name: str
    arguments: dict[str, str] = field(default_factory=dict)
    work: int = 0

    def text(self, alias: str, subfields: str | None = None) -> str:
        arguments = ", ".join(f"{name}: {value}" for name, value in self.arguments.items())
        selected = _selection(QUERY.fields[self.name].type) if subfields is None else subfields
        return f"{alias}: {self.name}{f'({arguments})' if arguments else ''}{selected}"


def _selection(shape: Any) -> str:
    """Return all fields of a type in braces, or an empty string for a scalar.

    With the members of each list, `learner` would be too deep.
    """
    named = get_named_type(shape)
    if not is_object_type(named):
        return ""
    subfields = (
        name + _selection(field.type)
        for name, field in named.fields.items()
        if name != "members" and not any(map(is_required_argument, field.args.values()))
    )
    return f" {{ {' '.join(subfields)} }}"


def document(calls: Sequence[FieldCall]) -> str:
    return f"{{ {' '.join(call.text(f'a{n}') for n, call in enumerate(calls))} }}"


@dataclass
class Search:
    """A search for the most expensive GraphQL document that `costing.context.caller` may send."""

    costing: Costing
    learner: str
    past: bool

    async def run(self) -> str:
        """Choose each field's most expensive arguments; return the most expensive document."""
        climbed = [await self._climb(name) for name in QUERY.fields]
        calls = sorted(filter(None, climbed), key=lambda call: -call.work)[:_MIXED]
        orders = [calls]
        if self.past:  # fields at one moment share a statement, so many moments may cost more
            days = range(1, 5)
            orders = [
                [self._at(call, back) for back in days for call in calls],
                [self._at(call, back) for call in calls for back in days],
            ]
        candidates = [
            document(self._fill([first, *order])) for order in orders for first in order[:_FIRST]
        ]
        works = [(await self.costing.answer(candidate))[1] for candidate in candidates]
        return candidates[works.index(max(works))]

    async def _climb(self, name: str) -> FieldCall | None:
        """Return the field with its most expensive arguments, which are chosen one at a time."""
        arguments = QUERY.fields[name].args
        if self.past and "asOf" not in arguments:
            return None
        best = FieldCall(name)
        for key, argument in arguments.items():
            if is_required_argument(argument) or key == "userId":
                best.arguments[key] = self._values(key, argument)[0]
        if self.past:
            best = self._at(best, 1)
        best = await self._measure(best)
        for key, argument in arguments.items():
            values = await self._cursors(best) if key == "after" else self._values(key, argument)
            for value in values:
                other = replace(best, arguments={**best.arguments, key: value})
                best = max(best, await self._measure(other), key=lambda call: call.work)
        return best

    async def _measure(self, call: FieldCall) -> FieldCall:
        answer, work = await self.costing.answer(document([call]))
        return replace(call, work=0 if answer.errors or not self._is_allowed([call]) else work)

    async def _cursors(self, call: FieldCall) -> list[str]:
        text = f"{{ {call.text('a', ' { pageInfo { endCursor } }')} }}"
        answer, _ = await self.costing.answer(text)
        page = msgspec.json.decode(answer.data or b"null")
        cursor = page and page["a"]["pageInfo"]["endCursor"]
        return [f'"{cursor}"'] if cursor else []

    def _values(self, name: str, argument: GraphQLArgument) -> list[str]:
        """Return the values to try for an argument. Raise KeyError if its type is unknown."""
        shape = get_named_type(argument.type)
        if isinstance(shape, GraphQLEnumType):
            return sorted(shape.values)
        day = self.costing.context.at.date()
        ids = {"userId": self.learner, "groupId": query_costs.GROUP}
        values: dict[str, list[str]] = {
            "Boolean": ["true", "false"],
            "Int": ["1", "200", "366"],
            "Date": [f'"{day - timedelta(days=730 if name == "from" else 0)}"'],
            "DateTime": [],  # _at sets these arguments
            "String": [
                '["Nothing"]' if name == "types" else '"und"' if name == "language" else '"w"'
            ],
            "CoverageItem": [str([f'{{itemId: "item-{n}"}}' for n in range(3)]).replace("'", "")],
            "ID": [f'"{ids.get(name, "item-7")}"'],
        }
        return values[shape.name]

    def _at(self, call: FieldCall, days: int) -> FieldCall:
        """Return the field at the moment this number of days before the last day of study.

        With `knownAt`, the catalogue's events are read. At later moments, live rows would be read.
        """
        moment = self.costing.context.at - timedelta(days=days + 1)
        names = QUERY.fields[call.name].args.keys() & {"asOf", "knownAt"}
        moments = dict.fromkeys(sorted(names), f'"{moment.isoformat()}"')
        return replace(call, arguments={**call.arguments, **moments})

    def _fill(self, calls: Sequence[FieldCall]) -> list[FieldCall]:
        """Repeat the first field as often as the limits allow, then the second field, and so on."""
        chosen: list[FieldCall] = []
        for call in calls:
            # Equal fields about the past would share one statement, so do not repeat them.
            most = 1 if self.past else _MAX_FIELDS - len(chosen)
            counts = range(1, most + 1)
            times = bisect.bisect(
                counts, 0, key=lambda n: not self._is_allowed(chosen + [call] * n)
            )
            chosen += [call] * times
        return chosen

    def _is_allowed(self, calls: Sequence[FieldCall]) -> bool:
        try:
            prepared = documents.read(document(calls), introspection=False).prepare(None, None)
        except Rejected:
            return False
        return not prepared.depends_on_groups  # whose constants are those of a large group


async def find(url: str, learner: str, role: Role, *, past: bool) -> tuple[str, int]:
    """Return the most expensive document for the role, and its number of rows and buffers."""
    async with query_costs.open_database(url, learner, role) as costing:
        text = await Search(costing, learner, past).run()
        answer, work = await costing.answer(text)
        if answer.errors:
            raise RuntimeError(f"{text}: {answer.errors[0]}")
        return text, work


def fill(store: Store) -> str:
    """Record a learner with 20,000 events and 2,000 items; return the learner's id."""
    with closing(database.connect(store.url)) as connection:
        connection.run(statements.blocks(str(_SQL))["letters"], letters=_LETTERS)
    (learner,) = logs.fill_studies(
        store, learners=1, days=_DAYS, answers=_ANSWERS, fresh=_FRESH, items=_ITEMS
    )
    with closing(store.connect()) as connection:
        joined = envelopes.join_group(learner, query_costs.GROUP)
        log.append(connection, [envelopes.delivery([joined])])
        Projector(connection).catch_up_all()
    return learner
