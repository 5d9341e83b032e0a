"""No default of the database changes a stored value, an answer, a printed time or an exit code."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from progress.adapters.postgres import database, statements
from progress.event_store import dead_letters
from progress.event_store.log import PostgresEventStore
from progress.projections import batch
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import api, cli, model_rows, published, sample_events
from tests.support.fake_publisher import FakePublisher
from tests.support.postgres_servers import EMBEDDED, Server, connect_plainly
from tests.support.pushes import record_push
from tests.support.stage import append

pytestmark = pytest.mark.every_postgres

CONFIGURED = {
    "client_encoding": "SJIS",  # has no backslash: its byte is a yen sign
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Pacific/Chatham",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "default_transaction_isolation": "repeatable read",
    "default_transaction_read_only": "on",
    "search_path": "information_schema",
    "synchronous_commit": "off",
    "statement_timeout": "1s",
    "lock_timeout": "1ms",
    "transaction_timeout": "2s",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "2s",  # longer than a busy machine takes from a start to `configure`
}
# No session sets these.
OTHERS = {
    "default_transaction_deferrable": "on",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "check_function_bodies": "off",
    "xmloption": "document",
    "timezone_abbreviations": "India",
    "backslash_quote": "off",
    "gin_fuzzy_search_limit": "1",
    "lo_compat_privileges": "on",
    "escape_string_warning": "off",
}

TURKISH = "LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR'"  # lower('I') is not 'i'
YEN, USER = "¥n", "ISIK"
AT = datetime(2026, 9, 2, 1, 2, 3, 500_000, tzinfo=UTC)


@pytest.fixture
def store(postgres_server: Server) -> Iterator[Store]:
    """A migrated database with other defaults; on PostgreSQL 15, its language is Turkish."""
    is_embedded = postgres_server.which == EMBEDDED  # which is built without ICU
    options = "" if is_embedded else TURKISH
    name = postgres_server.create_bare_database(f"TEMPLATE template0 {options}")
    with closing(database.connect(postgres_server.url)) as admin:
        for setting, value in (CONFIGURED | OTHERS).items():
            if setting != "transaction_timeout" or is_embedded:
                quoted = value if setting == "search_path" else f"'{value}'"
                admin.run(f"ALTER DATABASE {name} SET {setting} = {quoted}")
    url = postgres_server.sibling(name)
    cli.expect_success(cli.progress(url, "migrate"))
    yield Store(url)
    postgres_server.drop(name)


def set_goal() -> dict[str, Any]:
    goal = {"user_id": USER, "answers_per_day": 3}
    return sample_events.envelope("GoalSet", goal, at=AT)


def test_each_setting_of_a_session_has_another_default(store: Store) -> None:
    block = statements.blocks("adapters/sessions")["configure"]
    assert {*re.findall(r"\('(\w+)', ", block)} == CONFIGURED.keys()
    show = "SELECT name, setting FROM pg_settings WHERE name = ANY (:names)"
    with closing(store.connect()) as ours, closing(connect_plainly(store.url)) as other:
        names = [*CONFIGURED]
        assert not {*map(tuple, ours.run(show, names=names))} & {
            *map(tuple, other.run(show, names=names))
        }


def test_a_log_gives_the_same_answers_now_and_in_the_past_and_leaves_with_its_times(
    store: Store, connection: database.Connection, fake_publisher: FakePublisher
) -> None:
    append(connection, [set_goal()])
    append(connection, [sample_events.item_published(YEN, language="IT-it")])
    append(connection, sample_events.varied_study(USER))
    Projector(connection).catch_up_all()
    assert batch.run(connection).is_whole
    assert sample_events.find_differences(connection) == []
    assert dead_letters.list_letters(connection) == []

    (stored,) = connection.run(
        "SELECT convert_to(event_data ->> 'headword', 'UTF8') FROM event_store.events"
        " WHERE event_data ->> 'item_id' = :item",
        item=YEN,
    )[0]
    assert stored == YEN.encode()
    events = PostgresEventStore(connection).read_events(f"learner-{USER}", 1)
    assert AT in {event.occurred_at for event in events}
    query = """query($at: DateTime) {
        dailyStats(from: "2024-03-31", to: "2024-04-05", asOf: $at) { date answers accuracyRate }
        levelStats(asOf: $at) { level itemsStudied catalogueItems }
    }"""
    with api.serve(store.url) as served:
        before = served.data(query, USER, at=(AT - timedelta(days=1)).isoformat())
        assert before == served.data(query, USER)
    assert before["dailyStats"]
    recorded = PostgresEventStore(connection).read_all_events(1, 1_000)
    with closing(published.Publisher(store, fake_publisher, "all")) as publisher:
        assert publisher.run() == len(recorded)
    told = [message.attributes for message in fake_publisher.messages("progress-events")]
    assert {each["ce-id"]: datetime.fromisoformat(each["ce-time"]) for each in told} == {
        str(event.event_id): event.created_at for event in recorded
    }

    def run(*arguments: str) -> list[str]:
        return cli.expect_success(cli.progress(store.url, *arguments)).splitlines()

    printed = [json.loads(line) for line in run("events", "--user", USER)]
    assert "2026-09-02T01:02:03.500000Z" in {event["occurred_at"] for event in printed}
    assert [json.loads(line)["user_id"] for line in run("learners", "ISI", "--json")] == [USER]
    run("check", "--whole")
    run("rebuild")
    run("check", "--whole")
    run("batch")


def test_appends_take_turns(store: Store, connection: database.Connection) -> None:
    """The second append starts before the first one commits."""

    def deliver(to: database.Connection) -> Any:
        return record_push(to, sample_events.lesson("ann", 0))

    with ExitStack() as stack:
        first, second = (stack.enter_context(closing(store.connect())) for _ in range(2))
        pid = model_rows.read_value(second, "pid")
        pool = stack.enter_context(ThreadPoolExecutor(1))
        with database.transaction(first):
            deliver(first)
            waiting = pool.submit(deliver, second)
            model_rows.wait_for_lock(connection, pid, waiting)
        assert waiting.result().outcomes["appended"] == 8
