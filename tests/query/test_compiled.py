"""Compiled fields have the responses of plain graphql-core, byte for byte."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import graphql
import msgspec
import pytest
from graphql import (
    ExecutionResult,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLObjectType,
    get_named_type,
    is_non_null_type,
    is_object_type,
)
from graphql.pyutils import Undefined
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from progress.adapters.postgres import database
from progress.auth import Caller
from progress.errors import QueryTooComplex
from progress.query.cache.responses import ResponseCache
from progress.query.execution import documents, execute
from progress.query.execution.documents import Cache
from progress.query.execution.execute import GraphQLRequest, GraphQLResponse, RequestLog
from progress.query.execution.executor import Answers, Call, FieldExecutor
from progress.query.execution.fields import Compiled, RequestedField, place_of
from progress.query.graphql.context import Context
from progress.query.graphql.schema import FIELDS, GRAPHQL
from progress.query.rate_limits import RateLimiter
from progress.query.read_models.accesses import AccessTrace
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader
from tests.conftest import Store
from tests.support import event_loop, rows_by_hand
from tests.support.api import QUERY, select_all
from tests.support.event_logs import Disturbance
from tests.support.postgres_servers import EMBEDDED, Server
from tests.support.sample_events import Envelope, envelope, item_published
from tests.support.stage import Worker, append

LONG = "a" * 70  # longer than any name that PostgreSQL allows
LATER = ("asOf", "knownAt")

COMPILED = tuple(name for name, declaration in FIELDS.items() if declaration.sql)
_ROOTS = (*COMPILED, *COMPILED, "itemStats", "events", "projectionStatus", "__typename")
_ROOTS = (*_ROOTS, *("learner",) * 8)
_VALUES = {
    "from": ("2024-01-01", "2024-02-20", "2024-03-01", "2024-03-09"),
    "to": ("2024-03-09", "2024-03-31", "2024-05-01", "2025-12-01"),
    "userId": (*("ann",) * 20, "bob", "nobody"),
    "itemId": ("i1", "i2", "i5", "i7", "i13", "i32", "huge", "nothing", 7),
    "search": ("", "word", "O", "%", "\\"),
    "language": ("de", "DE", "und", "en-GB", ""),
    "first": (1, 2, 14, 50, 200),
    "days": (1, 2, 14, 50, 200),
    "zeroFill": (True, False),
    "types": ([], ["CorrectAnswerGiven"], "ReviewProcessed"),
}
_ODD = {"Date": "2024-02-30", "Int": 2**31, "ID": 1.5, "String": 7, "Boolean": "true"}


@dataclass
class Query:
    text: str
    variables: dict[str, Any]
    operation_name: str | None


@dataclass
class Writer:
    """A document under construction."""

    kind: ClassVar = "query"
    parent: ClassVar[GraphQLObjectType] = QUERY
    omitted: ClassVar[Sequence[str]] = LATER
    aliases: ClassVar[tuple[str, ...]] = ("", "", "x", LONG)
    most_roots: ClassVar = 4
    shared: ClassVar = "streak { current longest }"  # the root in a fragment of its own

    chance_of: random.Random
    is_wild: bool
    declared: list[str] = field(default_factory=list)
    fragments: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    parts: int = 0
    asked: str = ""  # the latest root

    def chance(self, one_in: int) -> bool:
        return self.chance_of.randrange(one_in) == 0

    def variable(self, shape: str, value: Any) -> str:
        """Declare a variable with a value, a default, both or neither; return its name."""
        name = f"v{len(self.declared)}"
        is_default = self.chance(3)
        default = f" = {_literal(value, shape)}" if is_default else ""
        self.declared.append(f"${name}: {shape.rstrip('!') if is_default else shape}{default}")
        may_miss = is_default or not shape.endswith("!")
        if not may_miss or self.chance(3):
            self.variables[name] = value
        if self.is_wild and self.chance(6):
            self.variables[name] = self.chance_of.choice([None, [], {}, "x", -1, 1.5, True])
        return f"${name}"

    def directive(self) -> str:
        if not self.chance(6):
            return ""
        name = self.chance_of.choice(["skip", "include"])
        value = self.chance(2)
        if self.chance(2):
            return f" @{name}(if: {json.dumps(value)})"
        return f" @{name}(if: {self.variable('Boolean!', value)})"

    def roots(self) -> Sequence[str]:
        return _ROOTS

    def root(self, number: int) -> str:
        name = self.chance_of.choice(self.roots())
        if name == "__typename":
            return f"r{number}: __typename"
        self.asked = name
        arguments = self.arguments(self.parent.fields[name])
        key = self.chance_of.choice([f"r{number}: ", f"{LONG}{number}: ", f"r{number}: "])
        inside = self.selection(self.parent.fields[name])
        return f"{key}{name}{arguments}{self.directive()}{inside}"

    def arguments(self, called: GraphQLField) -> str:
        written = [self.argument(name, argument) for name, argument in called.args.items()]
        texts = ", ".join(filter(None, written))
        return f"({texts})" if texts else ""

    def argument(self, name: str, argument: GraphQLArgument) -> str:
        is_required = is_non_null_type(argument.type) and argument.default_value is Undefined
        if name in self.omitted or (not is_required and self.chance(2)):
            return ""
        shape = str(argument.type)
        value = self.chance_of.choice(self.values(name, argument))
        if not is_non_null_type(argument.type) and self.chance(5):
            value = None
        if self.is_wild and self.chance(8):
            value = _ODD.get(shape.rstrip("!"), value)
        if self.chance(2):
            return f"{name}: {_literal(value, shape)}"
        return f"{name}: {self.variable(shape, value)}"

    def selection(self, answer: GraphQLField) -> str:
        shape = get_named_type(answer.type)
        if not is_object_type(shape):
            return ""
        parts = [self.part(shape, depth=0) for _ in range(self.chance_of.randint(1, 6))]
        return " { " + " ".join(parts) + " }"

    def part(self, shape: GraphQLObjectType, depth: int) -> str:
        kind = self.chance_of.randint(1, 8) if depth < 2 else 8
        if kind > 2:
            return self.leaf(shape)
        inside = " ".join(self.part(shape, depth + 1) for _ in range(self.chance_of.randint(1, 3)))
        if kind == 1:
            condition = self.chance_of.choice(["", f" on {shape.name}"])
            return f"...{condition}{self.directive()} {{ {inside} }}"
        name = f"F{len(self.fragments)}"
        self.fragments.append(f"fragment {name} on {shape.name} {{ {inside} }}")
        return f"...{name}{self.directive()}" + (f" ...{name}" if self.chance(3) else "")

    def leaf(self, shape: GraphQLObjectType) -> str:
        if self.chance(8):
            return self.chance_of.choice(["__typename", "shape: __typename"])
        name = self.chance_of.choice(sorted(shape.fields))
        alias = self.chance_of.choice(self.aliases)
        key = alias and f"{alias}_{name}: "
        called = shape.fields[name]
        if called.args:  # fields of one key have one set of arguments
            self.parts += 1
            key = f"p{self.parts}: "
        return f"{key}{name}{self.arguments(called)}{self.directive()}{self.selection(called)}"

    def values(self, name: str, argument: GraphQLArgument) -> Sequence[Any]:
        shape = get_named_type(argument.type)
        if isinstance(shape, GraphQLEnumType):
            return sorted(shape.values)
        return _VALUES.get(name, (None,))


def _literal(value: Any, shape: str) -> str:
    is_enum = isinstance(GRAPHQL.type_map.get(shape.strip("[]!")), GraphQLEnumType)
    if is_enum and isinstance(value, list):
        return f"[{', '.join(_literal(each, shape) for each in value)}]"
    return value if is_enum and isinstance(value, str) else json.dumps(value)


def query(seed: int, kind: type[Writer] = Writer) -> Query:
    chance_of = random.Random(seed)
    writer = kind(chance_of, is_wild=seed % 4 == 0)
    roots = [writer.root(n) for n in range(chance_of.randint(1, writer.most_roots))]
    if writer.chance(5):
        roots.insert(chance_of.randint(0, len(roots)), "__typename")
    if writer.chance(5):
        on = f"on {writer.parent.name}"
        roots[0] = f"... {on}{writer.directive()} {{ {roots[0]} }} ...R ...R"
        writer.fragments.append(f"fragment R {on} {{ z: {writer.shared} }}")
    declared = f"({', '.join(writer.declared)})" if writer.declared else ""
    texts = [f"{writer.kind} Q{declared} {{ {' '.join(roots)} }}", *writer.fragments]
    name = chance_of.choice([None, "Q"])
    if writer.chance(6):
        texts.append("query Other { streak { longest } }")
        name = chance_of.choice(["Q", "Q", "Q", "Other", "None", None, ""])
    return Query(" ".join(texts), writer.variables, name)


NOW = datetime(2024, 4, 2, 3, 4, 5, 678_901, tzinfo=UTC)
LOG = RequestLog("query", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
PLAINLY = Disturbance(sizes=(100,), every=None, limit=1000, workers=1, tasks=1, crashes=())
MARCH = 'dailyStats(from: "2024-03-01", to: "2024-03-31") { %s }'
# The tests omit Hypothesis's phase `explain`, because it takes minutes.
PHASES = [phase for phase in Phase if phase is not Phase.explain]


def log() -> Iterator[Envelope]:
    """Yield many types of events: two learners study for three months, Bob in two time zones."""
    chance = random.Random(7)
    start = datetime(2024, 1, 10, 9, tzinfo=UTC)
    for n in range(30):
        described = item_published(f"i{n}", chance.choice(["A1", "B2", "C2"]), at=start)
        described["data"]["domains"] = chance.sample(["R", "W", "L", "S"], chance.randint(0, 3))
        yield described
    yield envelope("ItemArchived", {"item_id": "i5"}, at=start + timedelta(days=2))
    for n in range(6):
        rest = {"user_id": "ann", "date": (start + timedelta(days=50 + 9 * n)).date().isoformat()}
        yield envelope("RestDayTaken", rest, at=start)
    yield envelope("GoalSet", {"user_id": "ann", "answers_per_day": 2}, at=start)
    for user in ("ann", "bob"):
        for day in sorted(chance.sample(range(82), 50)):
            at = start + timedelta(days=day, hours=chance.randint(0, 14))
            yield from session(user, f"{user}-{day}", at, chance)
    moved = {"user_id": "bob", "timezone": "Pacific/Kiritimati", "day_start_hour": 4}
    yield envelope("UserPreferencesChanged", moved, at=start + timedelta(days=40))


def fold_log(url: str) -> Worker:
    worker = Worker(url)
    append(worker.connection, list(log()))
    worker.run(0, PLAINLY)
    return worker


def session(user: str, name: str, at: datetime, chance: random.Random) -> Iterator[Envelope]:
    data: dict[str, Any] = {"session_id": name, "user_id": user, "item_count": 3}
    yield envelope("SessionStarted", data, at=at)
    for n in range(chance.randint(0, 4)):
        item = f"i{chance.randint(0, 33)}"
        odd = timedelta(microseconds=chance.choice([0, 0, 123_456, 500_000]))
        kind = chance.choice(["CorrectAnswerGiven", "IncorrectAnswerGiven"])
        took = chance.choice([0, 1_234, 5_678])
        answer = {"session_id": name, "item_id": item, "response_time_ms": took}
        yield envelope(kind, answer, at=at + timedelta(seconds=n) + odd)
        review = {"user_id": user, "item_id": item, "easiness_factor": chance.choice([1.3, 2.36])}
        review["new_interval"] = chance.choice([0, 3, 7, 40])
        yield envelope("ReviewProcessed", review, at=at + timedelta(seconds=n) + odd)
    if chance.random() < 0.8:
        ended = {"session_id": name, "score": chance.randint(0, 100), "duration_seconds": 61}
        yield envelope("SessionCompleted", ended, at=at + timedelta(minutes=1))


def extremes(connection: database.Connection) -> None:
    much = {"user_id": "ann", "answers": 2**40, "correct_answers": 2**39, "study_seconds": 2**62}
    rows_by_hand.insert(connection, "daily_stats", {**much, "day": "2024-03-09"})
    tests = {"maturity": "YOUNG", "asked": 2**40, "recalled": 2**39}
    rows_by_hand.insert(connection, "retention_stats", {**much, **tests, "day": "2024-01-02"})
    item = {"user_id": "ann", "item_id": "huge", "answers": 2**40, "lapses": 2**33}
    rows_by_hand.insert(connection, "item_stats", {**item, "easiness_factor": 1e300})


class RecordingAnswers(Answers):
    compiled: ClassVar[list[str]] = []
    parts: ClassVar[int] = 0

    async def select(self, field: RequestedField, compiled: Compiled) -> bytes:
        self.compiled.append(field.planned.name)
        type(self).parts += len(field.planned.place) == 2
        return await super().select(field, compiled)


class RecordingExecutor(FieldExecutor):
    resolved: ClassVar[list[str]] = []

    async def resolve(self, call: Call) -> Any:
        field = self._fields.get(place_of(call.path) or ())
        if field and field.compiled:
            self.resolved.append(field.planned.name)
        return await super().resolve(call)


@dataclass
class Both:
    """A database on which each query runs twice: compiled, and with resolvers without a cache."""

    url: str
    ways: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._runner = asyncio.Runner()
        self._reader = Reader(self.url)
        self._cache = ResponseCache(None, RateLimiter(None, 10**9), self._reader)

    def responses(self, query: Query, role: Any = "learner") -> tuple[GraphQLResponse, ...]:
        request = GraphQLRequest(query.text, query.variables, query.operation_name)
        return self._runner.run(self._both(request, self._context(role)))

    def answer(self, text: str, role: Any = "learner") -> GraphQLResponse:
        """Return the response of the compiled query alone."""
        return self._runner.run(self._run_compiled(GraphQLRequest(text), self._context(role)))

    def _context(self, role: Any) -> Context:
        caller = Caller("ann", role, float("inf"))
        return Context(caller, Queries(self._reader), NOW, AccessTrace(self._reader))

    async def _both(self, request: GraphQLRequest, context: Context) -> tuple[GraphQLResponse, ...]:
        document = documents.read(request.query, introspection=False)
        if document.parsed is None:
            return (GraphQLResponse(None, document.errors, executed=False),) * 2
        result = graphql.execute(
            GRAPHQL,
            document.parsed,
            context_value=context,
            variable_values=request.variables,
            operation_name=request.operation_name,
        )
        if not isinstance(result, ExecutionResult):
            result = await result
        return await self._run_compiled(request, context), execute.to_response(result, LOG)

    async def _run_compiled(self, request: GraphQLRequest, context: Context) -> GraphQLResponse:
        """Run the query, and count it as `alone` or `resolved`.

        It ran `alone` if it has no errors, and if no resolver of a compiled field ran. For such a
        query, also count its compiled fields by name.
        """
        RecordingAnswers.compiled.clear()
        RecordingExecutor.resolved.clear()
        RecordingAnswers.parts = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(execute, "Answers", RecordingAnswers)
            patch.setattr(documents, "FieldExecutor", RecordingExecutor)
            patch.setattr(documents, "_cache", Cache())
            answer = await execute.run(
                request, context, cache=self._cache, introspection=False, log=LOG
            )
        is_alone = not answer.errors and not RecordingExecutor.resolved
        self.ways["alone" if is_alone else "resolved"] += 1
        if is_alone:
            self.ways.update(RecordingAnswers.compiled)
            self.ways["parts"] += RecordingAnswers.parts
        return msgspec.structs.replace(answer, extensions={})

    def close(self) -> None:
        event_loop.close(self._runner, self._reader.close)


@pytest.fixture(scope="module")
def both(servers: Callable[[str], Server]) -> Iterator[Both]:
    with servers(EMBEDDED).open_database() as url:
        worker = fold_log(url)
        extremes(worker.connection)
        made = Both(url)
        yield made
        made.close()
        worker.connection.close()


def test_generated_queries_have_the_responses_of_plain_graphql_core(both: Both) -> None:
    def compare(seed: int, role: str) -> None:
        with contextlib.suppress(QueryTooComplex):
            compiled, plain = both.responses(query(seed), role)
            assert compiled == plain, seed

    both.ways.clear()
    for number in range(400):  # the same queries each time, until each field has occurred
        compare(number, "support" if number % 3 else "learner")
        if number > 120 and all(both.ways[name] > 2 for name in COMPILED):
            break
    assert both.ways["alone"] > 2 * both.ways["resolved"]
    assert both.ways["parts"] > 10
    for name in COMPILED:
        assert both.ways[name] > 2, name

    @settings(
        max_examples=10 * settings().max_examples,
        suppress_health_check=list(HealthCheck),
        phases=PHASES,
    )
    @given(seed=st.integers(0, 2**32), role=st.sampled_from(["learner", "support"]))
    def check(seed: int, role: str) -> None:
        compare(seed, role)

    check()


def test_an_object_that_is_null_is_null_even_if_only_its_type_is_selected(both: Both) -> None:
    """The item `huge` has no answer, so that it has no memory; the resolver says that."""
    for item, memory in (("huge", None), ("i1", {"__typename": "Memory"})):
        text = "query ($item: ID!) { item(itemId: $item) { memory { __typename } } }"
        compiled, plain = both.responses(Query(text, {"item": item}, None))
        assert compiled == plain
        assert msgspec.json.decode(compiled.data or b"") == {"item": {"memory": memory}}


@pytest.mark.parametrize(
    ("change", "field", "errors"),
    [
        ("a null", "languages { answers }", 1),
        ("another type", MARCH % "date answers", 1),
        ("not a number", 'item(itemId: "i1") { itemId easinessFactor }', 1),
        ("an infinite number", 'item(itemId: "i1") { easinessFactor }', 1),
        ("an unknown level", 'item(itemId: "i1") { itemId level }', 1),
        ("an unknown domain", 'item(itemId: "i1") { domains }', 1),
        ("a missing column", MARCH % "date itemsLearned", 1),
    ],
)
def test_a_row_that_violates_the_schema_is_left_to_the_resolver(
    store: Store, change: str, field: str, errors: int
) -> None:
    query = Query(f"{{ streak {{ current }} it: {field} }}", {}, None)
    with closing(Worker(store.url).connection) as connection:
        rows_by_hand.insert(connection, "daily_stats", {"user_id": "ann", "day": "2024-03-02"})
        rows_by_hand.insert(connection, "items", {"item_id": "i1", "domains": ["R"]})
        rows_by_hand.insert(connection, "item_stats", {"user_id": "ann", "item_id": "i1"})
        assert way(store.url, query) == ("alone", 0)
        connection.run(rows_by_hand.BLOCKS[change])
        assert way(store.url, query) == ("resolved", errors)


def way(url: str, query: Query) -> tuple[str, int]:
    """Return `alone` or `resolved` and the number of errors. Assert that both responses agree."""
    with closing(Both(url)) as both:
        compiled, plain = both.responses(query)
        assert compiled == plain
        (went,) = both.ways.keys() & {"alone", "resolved"}
        return went, len(compiled.errors)


@pytest.mark.parametrize("name", COMPILED)
def test_every_column_of_a_compiled_field_can_be_selected(both: Both, name: str) -> None:
    arguments = '(itemId: "i1")' if name in ("item", "itemForgetting") else ""
    if {"from", "to"} <= QUERY.fields[name].args.keys():
        arguments = '(from: "2024-03-01", to: "2024-03-31")'
    selection = select_all(QUERY.fields[name])
    both.ways.clear()
    compiled, plain = both.responses(Query(f"{{ {name}{arguments} {selection} }}", {}, None))
    assert compiled == plain
    assert both.ways[name] == 1
    assert len(compiled.data or b"") > 40
