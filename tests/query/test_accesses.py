"""Who read a learner's record: each way to the data of somebody else leaves exactly its trace.

The ways are listed from the schema and from the commands. A new one fails a test until it says
whose data it returns.
"""

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import msgspec
import pytest
import typer
from graphql import GraphQLField, GraphQLObjectType, get_named_type, is_non_null_type
from strawberry.schema.schema_converter import GraphQLCoreConverter
from typer.core import TyperGroup

from progress import cli
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.auth import Caller
from progress.operations import batch_job, records
from progress.projections import batch
from progress.projections.projector import Projector
from progress.query.graphql.schema import FIELDS, GRAPHQL
from progress.query.graphql.whose import Whose
from progress.query.read_models.accesses import AccessTrace
from progress.query.read_models.reader import Reader
from progress.serve import readiness
from tests.conftest import Store
from tests.support import api, http_client, sample_events, stage, subscription_client, token_issuer
from tests.support import cli as command_line
from tests.support.api import Api
from tests.support.export_fixtures import export, export_statistics
from tests.support.operation_fixtures import USERS, Operator, deliver
from tests.support.postgres_servers import url_of
from tests.support.recent_events import of, study
from tests.support.socket_client import OpenSocket
from tests.support.subscription_client import Subscribe

QUERIES, MUTATIONS, SUBSCRIPTIONS = (
    cast("GraphQLObjectType", type_).fields
    for type_ in (GRAPHQL.query_type, GRAPHQL.mutation_type, GRAPHQL.subscription_type)
)
ROLES = ("learner", "teacher", "support", "admin")
PROGRESS = '{ userProgress(userId: "ann") { totalItemsLearned } }'

Trace = tuple[str, str, str]  # reader, role, learner
ReadFirst = Callable[[int, str, str], Any]  # port, operation, reader


@pytest.fixture
def group(populated: Connection) -> Connection:
    stage.append(populated, [*sample_events.choices("ann"), *sample_events.choices("ben")])
    Projector(populated).catch_up_all()
    return populated


def take_traces(connection: Connection) -> set[Trace]:
    rows = connection.run("DELETE FROM event_store.accesses RETURNING read_by, role, user_id, hour")
    for *_, hour in rows:
        assert (hour.minute, hour.second, hour.microsecond) == (0, 0, 0)
        assert timedelta(0) <= datetime.now(UTC) - hour < timedelta(hours=2)
    return {(read_by, role, learner) for read_by, role, learner, _ in rows}


def send(query_api: Api, query: str, user: str, role: str) -> Any:
    """Return the body of the response to a caller with this role, who teaches g1."""
    token = token_issuer.token(user, roles=[role], groups=["g1"])
    body = json.dumps({"query": query}).encode()
    return api.read(query_api.request("POST", "/graphql", body, http_client.headers(token)))


def collect_learners(value: Any) -> set[str]:
    if isinstance(value, list):
        return set[str]().union(*map(collect_learners, value))
    if not isinstance(value, dict):
        return set()
    own = {value["userId"]} if "userId" in value else set()
    return own.union(*map(collect_learners, value.values()))


# The values of arguments that a field needs, as GraphQL.
VALUES = {
    "answersPerDay": "5",
    "aside": "true",
    "before": '"2020-01-01T00:00:00Z"',
    "date": '"2024-04-02"',
    "dueOn": '"2024-04-02"',
    "from": '"2024-03-01"',
    "groupId": '"g1"',
    "id": '"ann-0"',
    "ids": '["1"]',
    "idempotencyKey": '"key"',
    "itemId": '"i0"',
    "itemIds": '["i0"]',
    "items": '[{itemId: "i0"}]',
    "listId": '"own:l1"',
    "name": '"x"',
    "reason": '"x"',
    "table": "DAILY",
    "text": '"an"',
    "to": '"2024-05-01"',
}


def write_field(name: str, field: GraphQLField, learner: str, /, **values: str) -> str:
    """Return the field with a learner, these values, what it needs, and all that it contains."""
    given = {"userId": f'"{learner}"', **values}
    arguments = [
        argument
        for argument, definition in field.args.items()
        if argument in given or is_non_null_type(definition.type)
    ]
    written = ", ".join(f"{each}: {(VALUES | given)[each]}" for each in arguments)
    return f"{name}{f'({written})' if written else ''} {api.select_all(field)}"


def test_every_field_says_whose_data_it_returns() -> None:
    """A field with a resolver of its own may read more than the object that has the field."""
    assert FIELDS.keys() == {*QUERIES, *MUTATIONS, *SUBSCRIPTIONS}
    roots = (GRAPHQL.query_type, GRAPHQL.mutation_type, GRAPHQL.subscription_type)
    for type_ in GRAPHQL.type_map.values():
        if not isinstance(type_, GraphQLObjectType) or type_ in roots:
            continue
        for name, field in type_.fields.items():
            made = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
            if getattr(made, "base_resolver", None) is not None:
                said = f"{type_.name}.{name}: declare it with `_resolved`, and say whose data it is"
                assert isinstance(whose_of(field), Whose), said


def whose_of(field: GraphQLField) -> Any:
    made = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return made.metadata.get("whose") if made else None


def test_a_field_that_names_a_learner_or_lists_learners_says_so() -> None:
    for name, field in {**QUERIES, **MUTATIONS, **SUBSCRIPTIONS}.items():
        if "userId" in field.args:
            named = (Whose.LEARNER, Whose.TRAIL)
            assert FIELDS[name].whose in named or name == "eraseUser", name
        elif any(map(has_learner, reachable_types(field))):
            assert FIELDS[name].whose is Whose.LISTED, name


def reachable_types(field: GraphQLField) -> set[GraphQLObjectType]:
    found, waiting = set[GraphQLObjectType](), [get_named_type(field.type)]
    while waiting:
        type_ = waiting.pop()
        if isinstance(type_, GraphQLObjectType) and type_ not in found:
            found.add(type_)
            waiting += [
                get_named_type(each.type)
                for each in type_.fields.values()
                if whose_of(each) is not Whose.LISTED  # such a field says so itself
            ]
    return found


def has_learner(type_: GraphQLObjectType) -> bool:
    return "userId" in type_.fields


def expect_learners(name: str, learner: str, body: Any) -> set[str]:
    """Return the learners whose data the response to the field holds, as the field says."""
    match FIELDS[name].whose:
        case Whose.LEARNER | Whose.TRAIL:
            return {learner}
        case Whose.LISTED:
            listed = collect_learners(body["data"])
            assert listed, name
            return listed
        case Whose.NOBODY:
            assert not collect_learners(body["data"]), name
            return set()


FOR_TEACHERS = {"group", "itemDifficulty", "learners"}
FOR_SUPPORT = {"calibrationOfAll", "events", "groups", "intake", "searchGroups", "searchLearners"}
FOR_ADMINISTRATORS = {
    *("accesses", "arrivals", "blockingSessions", "deadLetterReasons", "deadLetters"),
    *("operations", "release", "schedules", "shards", "undelivered"),
}


def test_each_query_is_for_its_roles_and_leaves_exactly_the_traces_of_whose_data_it_returns(
    operator: Operator, group: Connection
) -> None:
    operation_id = operator.start("runBatch")["id"]
    refused: dict[str, set[str]] = {role: set() for role in ROLES}
    for name, field in QUERIES.items():
        # All that one group contains takes half of the rows that a document may read.
        values = {"id": json.dumps(operation_id)} | ({"first": "1"} if name == "groups" else {})
        query = f"{{ {write_field(name, field, 'ann', **values)} }}"
        for role in ROLES:
            reader = f"{role} {name}"
            body = send(operator.api, query, reader, role)
            if "errors" in body:
                (error,) = body["errors"]
                assert error["extensions"]["code"] == "FORBIDDEN", (name, error)
                assert take_traces(group) == set()
                refused[role].add(name)
                continue
            learners = expect_learners(name, "ann", body)
            assert take_traces(group) == {(reader, role, each) for each in learners}, name
    own = {name for name in QUERIES if FIELDS[name].whose in (Whose.LEARNER, Whose.TRAIL)}
    assert refused["admin"] == set()
    assert refused["support"] == FOR_ADMINISTRATORS
    assert refused["teacher"] == FOR_ADMINISTRATORS | FOR_SUPPORT
    assert refused["learner"] == FOR_ADMINISTRATORS | FOR_SUPPORT | FOR_TEACHERS | own


def test_of_a_deleted_learner_only_the_trail_leaves_a_trace_and_no_own_or_unknown_record_does(
    operator: Operator, group: Connection
) -> None:
    stage.append(group, [sample_events.user_deleted("cyd")])
    Projector(group).catch_up_all()
    for name, field in QUERIES.items():
        if FIELDS[name].whose in (Whose.LEARNER, Whose.TRAIL):
            own, unknown, deleted = (
                f"{{ {write_field(name, field, user)} }}" for user in ("ann", "nobody", "cyd")
            )
            assert "errors" not in send(operator.api, own, "ann", "learner")
            send(operator.api, unknown, "ada", "admin")
            send(operator.api, deleted, name, "admin")
    listed = send(operator.api, '{ learners(groupId: "g1") { totalCount } }', "ben", "teacher")
    assert listed["data"]["learners"]["totalCount"] == 2
    trails = {name for name in QUERIES if FIELDS[name].whose is Whose.TRAIL}
    assert trails == {"events"}
    assert take_traces(group) == {("ben", "teacher", "ann"), ("events", "admin", "cyd")}


def test_a_past_day_of_a_class_leaves_a_trace_of_each_member(
    operator: Operator, group: Connection
) -> None:
    past = 'asOf: "2024-03-02T00:00:00Z"'
    listed = f'{{ learners(groupId: "g1", {past}) {{ edges {{ node {{ userId }} }} }} }}'
    body = send(operator.api, listed, "tom", "teacher")
    assert collect_learners(body["data"]) == {"ann", "ben"}
    assert take_traces(group) == {("tom", "teacher", "ann"), ("tom", "teacher", "ben")}
    numbers = "members answersLast7Days weeks { answers } knowledge { items } atRisk"
    alone = f'{{ group(groupId: "g1", {past}) {{ {numbers} }} }}'
    assert send(operator.api, alone, "tom", "teacher")["data"]["group"]["members"] == 2
    assert take_traces(group) == set()


TEACHERS = """{ group(groupId: "g1") { teachers }
  groups { edges { node { groupId teachers } } } }"""


def test_a_group_s_teachers_are_those_who_read_a_member_s_record_in_the_last_30_days(
    operator: Operator, group: Connection
) -> None:
    def read(role: str) -> Any:
        return send(operator.api, TEACHERS, "ada", role)["data"]

    assert read("support")["group"] == {"teachers": []}
    for reader in ("tom", "ben", "zoe"):
        send(operator.api, '{ learners(groupId: "g1") { totalCount } }', reader, "teacher")
    send(operator.api, PROGRESS, "sue", "support")
    for reader, hours in (("old", 721), ("late", 719)):
        group.run(
            "INSERT INTO event_store.accesses (user_id, hour, read_by, role) VALUES ('ann',"
            " date_trunc('hour', now() - make_interval(hours => :hours)), :reader, 'teacher')",
            reader=reader,
            hours=hours,
        )
    listed = {"groupId": "g1", "teachers": ["ben", "late", "tom", "zoe"]}
    for role in ("support", "admin"):
        found = read(role)
        assert found["group"] == {"teachers": listed["teachers"]}
        assert found["groups"]["edges"] == [{"node": listed}]
    teacher = send(operator.api, '{ group(groupId: "g1") { teachers } }', "tom", "teacher")
    assert teacher["data"] == {"group": {"teachers": None}}


def test_a_field_that_fails_leaves_no_trace_and_the_others_do(
    operator: Operator, group: Connection
) -> None:
    bad, good = 'item(userId: "ben", itemId: "") { answers }', 'streak(userId: "ann") { current }'
    body = send(operator.api, f"{{ {bad} {good} }}", "ada", "admin")
    assert (body["data"]["item"], len(body["errors"])) == (None, 1)
    assert take_traces(group) == {("ada", "admin", "ann")}
    days = 'dailyStats(userId: "ben", from: "2024-05-01", to: "2024-04-01") { answers }'
    assert send(operator.api, f"{{ {days} {good} }}", "eve", "admin")["data"] is None
    assert take_traces(group) == set()
    part = 'dailyStats(from: "2024-05-01", to: "2024-04-01") { answers }'
    failing = f'{{ learner(userId: "ben") {{ id __typename {part} }} }}'
    body = send(operator.api, failing, "eve", "admin")
    assert body["data"]["learner"] == {
        "id": "ben",
        "__typename": "LearnerRecord",
        "dailyStats": None,
    }
    assert take_traces(group) == set()
    body = send(operator.api, failing.replace("id", "goal { week }"), "eve", "admin")
    assert len(body["errors"]) == 1
    assert take_traces(group) == {("eve", "admin", "ben")}


def test_each_mutation_leaves_exactly_its_trace(operator: Operator, group: Connection) -> None:
    missing = '"00000000-0000-0000-0000-000000000000"'
    for name, field in MUTATIONS.items():
        query = f"mutation {{ {write_field(name, field, 'ben', id=missing, eventId=missing)} }}"
        send(operator.api, query, f"admin {name}", "admin")
        returns = FIELDS[name].whose is Whose.LEARNER
        assert take_traces(group) == ({(f"admin {name}", "admin", "ben")} if returns else set())
    assert [name for name in MUTATIONS if FIELDS[name].whose is not Whose.NOBODY] == ["exportUser"]
    query = f"mutation {{ {write_field('exportUser', MUTATIONS['exportUser'], 'ann')} }}"
    assert "errors" not in send(operator.api, query, "ann", "learner")
    assert "errors" in send(operator.api, query, "eve", "support")
    assert take_traces(group) == set()


def test_a_download_of_the_record_leaves_a_trace_of_everybody_but_the_learner(
    operator: Operator, store: Store, group: Connection, tmp_path: Path
) -> None:
    operation_id = operator.run(export(operator)["id"])["id"]
    assert take_traces(group) == {("ada", "admin", "ann")}
    place = f'(id: "{operation_id}")'
    with api.serve(url_of(store.url, "query"), progress_data_dir=str(tmp_path)) as other:
        for query in (f"{{ operation{place} {{ state }} }}", "{ operations { edges { cursor } } }"):
            send(other, query, "ada", "admin")
        read = f"{{ operation{place} {{ download {{ bytes }} }} }}"
        assert send(other, read, "ann", "learner")["data"]["operation"]["download"]
        assert take_traces(group) == set()
        assert send(other, read, "ada", "admin")["data"]["operation"]["download"]
        assert take_traces(group) == {("ada", "admin", "ann")}
    with api.serve(url_of(store.url, "query"), progress_data_dir=str(tmp_path)) as other:
        send(other, "{ operations { edges { node { download { sha256 } } } } }", "ada", "admin")
        assert take_traces(group) == {("ada", "admin", "ann")}


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    "arguments",
    [
        *(f"table: {table}" for table in ("DAILY", "WEEKLY", "DOMAIN", "LEVEL", "ITEM")),
        'table: DAILY, from: "2024-04-06"',
        'table: WEEKLY, from: "2024-04-08", learners: ["ann", "dan", "nobody"]',
        'table: ITEM, learners: ["cyd", "nobody"]',
    ],
)
def test_exported_statistics_leave_a_trace_of_each_learner_in_the_file(
    operator: Operator, group: Connection, tmp_path: Path, arguments: str
) -> None:
    stage.append(group, sample_events.lesson("dan", 8))
    batch.run(group)
    done = operator.run(export_statistics(operator, arguments)["id"])
    file = tmp_path / "exports" / json.loads(done["result"])["object"]
    rows = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig")))
    learners = {row["user_id"] for row in rows}
    assert learners
    assert take_traces(group) == {("ada", "admin", each) for each in learners}


def test_each_subscription_leaves_exactly_its_trace(
    operator: Operator, store: Store, group: Connection, read_first: dict[str, ReadFirst]
) -> None:
    stage.append(group, [event for days in (2, 1, 0) for event in study("eva", days)])
    goal = of("GoalSet", "eva", 0, answers_per_day=1)
    stage.append(group, [goal, *study("eva", 0, answers=1)])
    Projector(group).catch_up_all()
    listed = operator.data(
        '{ milestones(userId: "eva", kinds: [STREAK]) { edges { node { id } } } }'
    )
    values = {
        "after": json.dumps(listed["milestones"]["edges"][0]["node"]["id"]),
        "id": json.dumps(operator.run(export(operator, "eva")["id"])["id"]),
    }
    take_traces(group)
    with subscription_client.query_function(url_of(store.url, "query")) as function:
        for name, field in SUBSCRIPTIONS.items():
            for transport, read in read_first.items():
                reader = f"{transport} {name}"
                group.run("UPDATE operations.operations SET requesters = ARRAY[:r]", r=reader)
                query = f"subscription {{ {write_field(name, field, 'eva', **values)} }}"
                read(function.port, query, reader)
                # The group is not about one learner; the operation is the export of the record.
                learners = set() if name == "groupUpdated" else {"eva"}
                assert take_traces(group) == {(reader, "admin", each) for each in learners}, reader
        for transport, read in read_first.items():
            read(function.port, PROGRESS, transport)
            assert take_traces(group) == {(transport, "admin", "ann")}


@pytest.fixture
def read_first(subscribe: Subscribe, open_socket: OpenSocket) -> dict[str, ReadFirst]:
    def read_from_stream(port: int, query: str, reader: str) -> Any:
        return subscribe(port, query, reader, roles=["admin"]).next_value()

    def read_from_socket(port: int, query: str, reader: str) -> Any:
        socket = open_socket(port, reader, roles=["admin"])
        socket.subscribe("x", query)
        return socket.next_value("x")

    return {"stream": read_from_stream, "socket": read_from_socket}


def test_a_stream_leaves_no_trace_before_its_first_message_and_sends_none_without_it(
    store: Store, group: Connection, subscribe: Subscribe
) -> None:
    query = 'subscription { streakUpdated(userId: "ann") { longest } }'
    stream = 'subscription { milestoneReached(userId: "eva") { kind } }'
    with subscription_client.query_function(url_of(store.url, "query")) as function:
        opened = subscribe(function.port, stream, "ada", roles=["admin"])
        assert opened.status == 200
        assert take_traces(group) == set()
        with no_trace_can_be_written(store):
            stage.append(group, [event for days in (2, 1, 0) for event in study("eva", days)])
            Projector(group).catch_up_all()
            assert opened.next_event() == ("complete", None)
            refused = subscribe(function.port, query, "ada", roles=["admin"])
            assert refused.status == 503
    assert take_traces(group) == set()


# Why a trace cannot be written: a statement, and the one that undoes it.
CAUSES = {
    "the table is locked": ("BEGIN; LOCK TABLE event_store.accesses IN SHARE MODE", "ROLLBACK"),
    "the right is gone": (
        "REVOKE EXECUTE ON FUNCTION event_store.record_accesses FROM progress_query",
        "GRANT EXECUTE ON FUNCTION event_store.record_accesses TO progress_query",
    ),
}


@contextmanager
def no_trace_can_be_written(store: Store, cause: str = "the table is locked") -> Iterator[None]:
    """Change the database for the block, so that each new trace fails or waits in vain."""
    do, undo = CAUSES[cause]
    with closing(stage.connect(store.url)) as holder:
        holder.execute_simple(do)
        yield
        holder.run(undo)


@pytest.mark.parametrize("cause", CAUSES)
def test_without_its_trace_nobody_reads_the_record_of_somebody_else(
    operator: Operator, store: Store, group: Connection, cause: str
) -> None:
    query = PROGRESS.replace("}", "} streak { current } ", 1)
    with no_trace_can_be_written(store, cause):
        body = msgspec.json.encode({"query": query})
        answer = operator.api.request("POST", "/graphql", body, api.headers("ada", ["admin"]))
        assert answer.status_code == 503
        assert b"totalItemsLearned" not in answer.body
        own = send(operator.api, PROGRESS, "ann", "learner")
        assert own["data"]["userProgress"]["totalItemsLearned"] == 3
    assert take_traces(group) == set()
    assert "errors" not in send(operator.api, query, "ada", "admin")
    assert take_traces(group) == {("ada", "admin", "ann")}


def test_cached_answers_leave_traces(store: Store, group: Connection, patient_redis: str) -> None:
    """The second reader's answer is from the cache, and the third one's is a status 304."""
    with api.serve(url_of(store.url, "query"), redis_url=patient_redis) as cached:
        results = []
        for reader in ("ada", "eve"):
            body = send(cached, PROGRESS, reader, "admin")
            results.append(body["extensions"]["cache"])
            assert take_traces(group) == {(reader, "admin", "ann")}
        assert results == ["MISS", "HIT"]
        path = "/graphql?" + urlencode({"query": PROGRESS})
        first = cached.request("GET", path, b"", api.headers("eve", ["admin"]))
        tagged = api.headers("zoe", ["admin"], **{"if-none-match": first.headers["etag"]})
        assert cached.request("GET", path, b"", tagged).status_code == 304
        assert take_traces(group) == {("zoe", "admin", "ann")}


def test_a_reader_leaves_one_trace_an_hour_and_costs_no_statement_after_it(
    operator: Operator, group: Connection
) -> None:
    """A deleted trace shows that a process does not write it again."""
    for query in (PROGRESS, PROGRESS.replace("totalItemsLearned", "currentStreak")):
        send(operator.api, query, "ada", "admin")
    assert take_traces(group) == {("ada", "admin", "ann")}
    send(operator.api, PROGRESS, "ada", "admin")
    assert take_traces(group) == set()
    send(operator.api, PROGRESS, "ada", "support")
    send(operator.api, PROGRESS.replace("ann", "ben"), "ada", "admin")
    assert take_traces(group) == {("ada", "support", "ann"), ("ada", "admin", "ben")}


def test_each_hour_has_its_trace(store: Store, group: Connection) -> None:
    """While the database's clock is behind, the new hour's trace is written at each read."""
    now = datetime.now(UTC)
    clock = [now]

    async def read() -> set[Trace]:
        await trace.write(Caller("ada", "admin"), ["ann"])
        return take_traces(group)

    async def read_at_times() -> list[set[Trace]]:
        found = []
        for hours in (0, 0, -1, 1, 1):  # the third: a clock that was ahead is set back
            clock[0] = now + timedelta(hours=hours)
            found.append(await read())
        await reader.close()
        return found

    reader = Reader(url_of(store.url, "query"))
    trace = AccessTrace(reader, clock=lambda: clock[0])
    once = {("ada", "admin", "ann")}
    assert asyncio.run(read_at_times()) == [once, set(), once, once, once]


def test_a_learner_reads_who_has_read_their_record(operator: Operator, group: Connection) -> None:
    hours = [datetime(2026, 1, day, hour, tzinfo=UTC) for day, hour in ((2, 9), (2, 10), (1, 23))]
    for hour, reader, role in (
        *((hours[0], "eve", "support"), (hours[0], "eve", "admin"), (hours[0], "Éva", "teacher")),
        *((hours[0], "Zoe", "teacher"), (hours[1], "system:export", "system")),
        (hours[2], "eve", "support"),
    ):
        values = {"hour": hour, "reader": reader, "role": role}
        group.run(
            "INSERT INTO event_store.accesses VALUES ('ann', :hour, :reader, :role)", **values
        )
    expected = [
        *(("10", "system:export", "system"), ("09", "Zoe", "teacher"), ("09", "eve", "admin")),
        *(("09", "eve", "support"), ("09", "Éva", "teacher"), ("23", "eve", "support")),
    ]
    assert read_accesses(operator.api, "ann", "learner", first=200) == expected
    assert read_accesses(operator.api, "ann", "learner", first=1) == expected
    assert read_accesses(operator.api, "ben", "learner", first=200) == []
    for role in ("learner", "teacher", "support"):
        query = '{ accesses(userId: "ann") { edges { cursor } } }'
        (error,) = send(operator.api, query, "eve", role)["errors"]
        assert error["message"] == f"a {role} may read their own list of readers only"
    # An administrator's own trace is seen from the next answer on.
    assert read_accesses(operator.api, "ada", "admin", "ann", first=200) == expected
    assert read_accesses(operator.api, "ada", "admin", "ann", first=200)[0][1] == "ada"


def read_accesses(
    query_api: Api, user: str, role: str, learner: str | None = None, *, first: int
) -> list[tuple[str, str, str]]:
    found, after = list[tuple[str, str, str]](), ""
    while len(found) < 20:  # more than there are
        place = f'(userId: "{learner or user}", first: {first}{after})'
        query = f"""{{ accesses{place} {{
            edges {{ node {{ hour readBy role }} }} pageInfo {{ hasNextPage endCursor }} }} }}"""
        page = send(query_api, query, user, role)["data"]["accesses"]
        for edge in page["edges"]:
            assert edge["node"]["hour"].endswith(":00:00Z")
            found.append(
                (edge["node"]["hour"][11:13], edge["node"]["readBy"], edge["node"]["role"])
            )
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = f', after: "{page["pageInfo"]["endCursor"]}"'
    return found


def test_an_administrator_reads_what_an_account_has_read(
    operator: Operator, group: Connection
) -> None:
    """After a stolen account, this says whose records were opened; each of them gets a trace."""
    hours = [datetime(2026, 1, 2, hour, tzinfo=UTC) for hour in (9, 10)]
    rows = [("ben", hours[0]), ("ann", hours[0]), ("ann", hours[1]), ("0a1b", hours[0])]
    for learner, hour in rows:
        values = {"learner": learner, "hour": hour}
        group.run(
            "INSERT INTO event_store.accesses VALUES (:learner, :hour, 'tom', 'teacher')", **values
        )
    group.run("INSERT INTO event_store.accesses VALUES ('ann', now(), 'eve', 'support')")
    fields = "edges { cursor node { userId hour readBy role } }"
    edges: list[dict[str, Any]] = []
    for _ in rows:
        place = f', after: "{edges[-1]["cursor"]}"' if edges else ""
        query = f'{{ accesses(readBy: "tom", first: 1{place}) {{ {fields} }} }}'
        edges += send(operator.api, query, "ada", "admin")["data"]["accesses"]["edges"]
    nodes = [edge["node"] for edge in edges]
    assert {(row["readBy"], row["role"]) for row in nodes} == {("tom", "teacher")}
    order = [(row["hour"][11:13], row["userId"]) for row in nodes]
    assert order == [("10", "ann"), ("09", "0a1b"), ("09", "ann"), ("09", "ben")]
    read = "SELECT user_id FROM event_store.accesses WHERE read_by = 'ada' ORDER BY user_id"
    assert group.run(read) == [["ann"], ["ben"]]
    for role, whose in (("support", ""), ("teacher", ""), ("learner", ""), ("admin", "ann")):
        other = f', userId: "{whose}"' if whose else ""
        query = f'{{ accesses(readBy: "tom"{other}) {{ edges {{ cursor }} }} }}'
        (error,) = send(operator.api, query, "eve", role)["errors"]
        assert error["extensions"]["code"] == ("BAD_USER_INPUT" if whose else "FORBIDDEN")


def test_traces_are_deleted_after_400_days(store: Store, group: Connection) -> None:
    for days in (399, 401):
        group.run(
            "INSERT INTO event_store.accesses "
            "VALUES ('ann', now() - make_interval(days => :days), :reader, 'admin')",
            days=days,
            reader=f"{days}",
        )
    with closing(database.connect(url_of(store.url, "batch"))) as job:
        batch_job.delete_old_records(job)
    assert group.run("SELECT read_by FROM event_store.accesses") == [["399"]]


# The commands that print or save the data of single learners, and the readers in their traces.
READERS = {
    "events": "system:events",
    "explain": "system:explain",
    "learners": "system:learners",
    "export": "system:export",
    "operations download": "system:operations",
}
OTHERS = {  # why the other commands leave no trace
    "they print no data of learners": "up down env open token publish migrate status move-views"
    " batch prune-schemas rebuild warm sql demo drill schema schema-events schema-release"
    " schedule-list schedule-pause schedule-resume schedule-run shards-list shards-release"
    " shards-end-sessions"
    " import-anki import-list import-reviews load doctor serve",
    "they are not about one learner": "import-roster check dump analyse archive archive-check"
    " archive-restore dead-letters-list dead-letters-show dead-letters-count dead-letters-replay"
    " dead-letters-discard operations-list operations-show operations-wait operations-cancel"
    " operations-retry",
    "they remove data": "erase erasures-apply",
}


def test_every_command_says_whether_it_prints_the_data_of_single_learners() -> None:
    commands = set(list_commands(typer.main.get_command(cli.build_app())))
    others = {word for words in OTHERS.values() for word in words.split()}
    assert commands == {word.replace(" ", "-") for word in READERS} | others


def list_commands(command: object, path: tuple[str, ...] = ()) -> Iterator[str]:
    inner = command.commands if isinstance(command, TyperGroup) else {}
    if not inner or (path and getattr(command, "invoke_without_command", False)):
        yield "-".join(path)
    for name, each in inner.items():
        yield from list_commands(each, (*path, name))


def test_each_command_that_prints_the_data_of_learners_leaves_its_traces(
    operator: Operator, store: Store, group: Connection, tmp_path: Path
) -> None:
    def run(*words: str) -> set[tuple[str, str]]:
        done = command_line.progress(store.url, *words, PROGRESS_DATA_DIR=str(tmp_path))
        command_line.expect_success(done)
        traces = take_traces(group)
        assert {role for _, role, _ in traces} <= {"system"}
        return {(reader, learner) for reader, _, learner in traces}

    def expect(word: str, *learners: str) -> set[tuple[str, str]]:
        return {(READERS[word], learner) for learner in learners}

    assert run("learners") == expect("learners", *USERS)
    assert run("learners", "--json", "--first", "1") == expect("learners", "ann")
    assert run("learners", "nobody") == set()
    assert run("events", "--user", "ann", "--limit", "1") == expect("events", "ann")
    assert run("events", "--user", "nobody") == set()
    assert run("events", "--user", "ann", "--type", "Unheard") == set()
    assert run("events") == set()
    assert run("explain", "--user", "ann", "--day", "2024-04-01") == expect("explain", "ann")
    assert run("explain", "--user", "ann", "--day", "2023-04-01") == set()
    with ThreadPoolExecutor(1) as pool:
        exported = pool.submit(run, "export", "ann", str(tmp_path / "here"))
        readiness.wait(lambda: bool(records.list_unclaimed(group)), "the operation")
        operation_id = str(records.list_unclaimed(group)[0])
        deliver(operation_id)
        assert exported.result() == expect("export", "ann")
    assert run("operations", "show", operation_id) == set()
    folder = str(tmp_path / "there")
    downloaded = run("operations", "download", operation_id, folder)
    assert downloaded == expect("operations download", "ann")
    stage.append(group, [sample_events.user_deleted("cyd")])
    Projector(group).catch_up_all()
    assert run("learners") == expect("learners", "ann", "ben")
    assert run("events", "--user", "cyd") == expect("events", "cyd")
