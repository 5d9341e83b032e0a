"""What dead letters cost: when they are written, at each erasure, and the space that they take."""

import json
import time
from collections.abc import Callable
from contextlib import closing

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import LettersFull
from progress.event_store import bodies, dead_letters, log
from progress.ingest import publisher_post, push
from progress.recovery import checks
from tests.conftest import Store
from tests.event_store.test_erased import append, bundle, count_letters, forbid, redact_letters
from tests.support.envelopes import envelope, session_started
from tests.support.pushes import encode_push

MALFORMED = [
    {"data": {"session_id": "s"}, "n": n} for n in range(999)
]  # a further one is in a bundle
STATISTICS = """
    SELECT tablename, attname FROM pg_stats
    WHERE schemaname = 'event_store' AND (tablename, attname) IN (('dead_letters', 'payload'),
        ('dead_letters', 'event_id'), ('pending', 'session_id'))
"""


def deliver(connection: Connection, content: object, poster: str = "") -> None:
    body = json.dumps(content).encode()
    delivery = push.parse_delivery(encode_push(body, message_id=str(hash(body))))
    if poster:
        delivery = publisher_post.parse_delivery(bytearray(body), bodies.JSON, poster)
    log.append(connection, [delivery])


def close(connection: Connection, how: str) -> None:
    for letter in dead_letters.list_letters(connection, limit=1):
        connection.run(how, n=letter.letter_id)


ACTIONS: dict[str, Callable[[Connection, int], object]] = {
    "push": lambda c, n: deliver(c, {"n": n}),
    "post": lambda c, n: deliver(c, [{"n": n}, [n] * (n % 50)], f"poster-{n % 3}"),
    "bundle": lambda c, n: deliver(c, [*MALFORMED, n], "poster-1"),
    "conflict": lambda c, n: deliver(c, session_started(f"s{n}"), "poster-2"),
    "discard": lambda c, _: close(
        c, "SELECT event_store.discard_letters(ARRAY[CAST(:n AS bigint)], 'test')"
    ),
    "replayed": lambda c, _: close(c, "SELECT event_store.mark_replayed(:n)"),
    "failed": lambda c, _: close(c, "SELECT event_store.mark_failed(:n, 'invalid', 'again')"),
    "age": lambda c, n: c.run("SELECT event_store.empty_old_letters(0, :n)", n=n % 9),
    "redact": lambda c, _: close(c, "SELECT event_store.redact_letters(ARRAY[CAST(:n AS bigint)])"),
    "delete": lambda c, _: close(c, "DELETE FROM event_store.dead_letters WHERE letter_id = :n"),
    "replay": lambda c, _: [
        dead_letters.replay(c, letter.letter_id)
        for letter in dead_letters.list_letters(c)[-1:]
        if letter.kind != "poisoned"
    ],
    "poison": lambda c, _: c.run(
        "SELECT event_store.mark_poisoned('0123456789ab', min(global_position), 'test')"
        " FROM event_store.events HAVING count(*) > 0"
    ),
}


@given(
    actions=st.lists(st.tuples(st.sampled_from([*ACTIONS]), st.integers(0, 100_000)), max_size=20)
)
def test_the_sums_are_the_bytes_of_the_open_letters(
    store: Store, actions: list[tuple[str, int]]
) -> None:
    with closing(store.connect()) as connection:
        for name, number in actions:
            ACTIONS[name](connection, number)
            assert database.run(connection, "recovery/checks", "letter bytes") == [], name


def test_the_bound_is_not_below_the_space_that_small_letters_take(connection: Connection) -> None:
    space = "SELECT pg_relation_size('event_store.dead_letters')"
    for n in range(20):
        deliver(connection, [[n]] * 999, "poster")
    assert connection.run(space) <= connection.run("SELECT bytes FROM event_store.letter_bytes")


def test_what_is_refused_takes_no_space(connection: Connection) -> None:
    connection.run(
        "CREATE OR REPLACE FUNCTION event_store.most_letter_bytes(OUT of_all bigint,"
        " OUT of_one bigint) LANGUAGE sql IMMUTABLE RETURN (9000000::bigint, 20000::bigint)"
    )
    deliver(connection, ["x" * 10_000], "poster")
    deliver(connection, ["x" * 10_000], "poster")  # repeated, it adds nothing
    size = "SELECT pg_total_relation_size('event_store.dead_letters')"
    before = connection.run(size)
    for n in range(3):
        with pytest.raises(LettersFull, match="--poster"):
            deliver(connection, [[n] * 900_000], "poster")
    assert connection.run(size) == before


def test_a_check_finds_wrong_sums(connection: Connection) -> None:
    deliver(connection, {"n": 1})
    connection.run("UPDATE event_store.letter_bytes SET bytes = bytes + 1")
    (finding,) = [each for each in checks.run(connection).findings if "bytes" in each.found]
    connection.run(finding.do.partition("run ")[2].partition(" as")[0])
    assert not [each for each in checks.run(connection).findings if "bytes" in each.found]


def test_an_erasure_empties_undecodable_letters_by_their_bytes(connection: Connection) -> None:
    for n in range(3):
        deliver(connection, [[n] * 1_000_000], "poster")  # 3 MB
    digest = forbid(connection, "ann")
    sql = "SELECT redacted, reached FROM event_store.redact_letters_of(:digest, :after, 100)"
    chunks: list[int] = []
    after: int | None = 0
    while after is not None:
        redacted, after = connection.run(sql, digest=digest, after=after)[0]
        chunks.append(redacted)
    assert len(chunks) == 3
    assert {letter.payload for letter in dead_letters.list_letters(connection)} == {""}


def test_the_time_that_a_bundle_takes_is_linear_in_the_number_of_its_owners(
    connection: Connection,
) -> None:
    """When it is written, when another one is rid of an erased learner, and when it is redacted."""
    session = psutil.Process(connection.run("SELECT pg_backend_pid()")[0][0])

    def used_s() -> float:  # of CPU time, which others do not take
        return time.process_time() + sum(session.cpu_times()[:2])

    def measure(count: int) -> float:
        entries = [f'{{"data":{{"user_id":"{count}-{n}"}}}}' for n in range(count)]
        gone = f'{{"data":{{"user_id":"gone {count}"}}}}'
        connection.run(
            "INSERT INTO event_store.sessions"
            " SELECT n || '-' || :n, 'gone ' || :n FROM generate_series(1, CAST(:n AS integer)) n",
            n=count,
        )
        start = used_s()
        append(connection, bundle(*entries, gone))
        digest = forbid(connection, f"gone {count}")
        assert count_letters(connection, digest) == (1, count)
        redact_letters(connection, digest)
        assert append(connection, bundle(*entries, gone), message_id=str(count))["erased"] == 1
        return used_s() - start

    forbid(connection, "somebody")
    connection.run("SET statement_timeout = '60s'")
    assert measure(32_000) < 32 * min(measure(n) for n in (3_998, 3_999, 4_000))  # 8, not 64


def test_the_planner_keeps_no_samples_of_what_an_erasure_may_empty_later(
    connection: Connection,
) -> None:
    deliver(connection, [{"event_id": "of ann", "data": {"session_id": "a"}}], "poster")
    append(connection, envelope("CorrectAnswerGiven", {"session_id": "s", "item_id": "i"}))
    connection.run("ANALYZE")
    assert connection.run(STATISTICS) == []
