"""The API's list of dead letters: order, pages, contents and size."""

import base64
import itertools
import uuid

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.event_store import dead_letters, log
from progress.ingest import push
from tests.support.operation_fixtures import (
    Operator,
    fake_publisher,
    operator,
    write_dead_letters,
)
from tests.support.pushes import encode_push

__all__ = ["fake_publisher", "operator"]

LETTERS = """{ deadLetters(%s) { totalCount pageInfo { hasNextPage endCursor } edges { cursor node {
  id kind topic eventId eventType reason payload receivedAt replayedAt } } } }"""


def list_ids(operator: Operator, arguments: str) -> list[str]:
    """Return the ids of all dead letters, fetched page by page."""
    ids: list[str] = []
    after = "null"
    for _ in itertools.count():
        page = operator.data(LETTERS % f"{arguments} after: {after}")["deadLetters"]
        ids += [edge["node"]["id"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            assert page["totalCount"] == len(ids)
            return ids
        after = f'"{page["pageInfo"]["endCursor"]}"'
    raise AssertionError


def test_waiting_dead_letters_precede_replayed_ones_and_each_group_is_newest_first(
    operator: Operator, connection: Connection
) -> None:
    ids = write_dead_letters(connection, 6)
    for replayed in (ids[4], ids[1]):
        connection.run(blocks("event_store/dead_letters")["mark replayed"], letter_id=int(replayed))
    dead_letters.discard(connection, int(ids[2]), "of no use")
    expected = [ids[n] for n in (5, 3, 0, 4, 1)]
    for first in (1, 2, 3, 50):
        assert list_ids(operator, f"first: {first}") == expected
    assert list_ids(operator, "kind: MALFORMED, first: 2") == expected
    assert list_ids(operator, "kind: POISONED") == []


def test_a_dead_letter_is_returned_as_stored(operator: Operator, connection: Connection) -> None:
    event = {
        "event_id": str(uuid.uuid4()),
        "event_type": "SessionCompleted",
        "occurred_at": "2024-03-01T00:00:00Z",
        "data": {"session_id": "s", "score": 101, "duration_seconds": 1, "email": "ann@x.org"},
    }
    log.append(connection, [push.parse_delivery(encode_push(event))])
    (edge,) = operator.data(LETTERS % "first: 1")["deadLetters"]["edges"]
    letter = edge["node"]
    assert (letter["kind"], letter["eventType"]) == ("INVALID", "SessionCompleted")
    assert letter["eventId"] == event["event_id"]
    assert letter["reason"].endswith("at $.data.score")
    assert "a***@x.org" in letter["payload"]
    assert letter["replayedAt"] is None


def test_at_most_16_kib_of_a_payload_are_returned(
    operator: Operator, connection: Connection
) -> None:
    texts = [
        text[:length]
        for begin in ("", "x", "xx", "xxx")
        for text in (begin + character * 17_000 for character in "xé€😀")
        for length in (4_096, 4_097, 16_383, 16_384, 16_385, 17_000)
    ]
    for text in texts:
        log.append(connection, [push.parse_delivery(encode_push(text.encode()))])
    cut = [text.encode()[:16_384].decode(errors="ignore") for text in reversed(texts)]
    edges = operator.data(LETTERS % "first: 100")["deadLetters"]["edges"]
    assert [edge["node"]["payload"] for edge in edges] == cut
    whole = {"kind": None, "first": 100, "after_replayed": None, "after_at": None, "after_id": None}
    rows = connection.run(blocks("event_store/dead_letters")["page"], **whole)
    at = [column["name"] for column in connection.columns or []].index("payload")
    assert [row[at] for row in rows] == cut
    assert [x.payload for x in dead_letters.list_letters(connection)] == texts


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_cursor_with_a_time_out_of_range_is_rejected(operator: Operator, moment: str) -> None:
    cursor = base64.urlsafe_b64encode(f'[true,"{moment}",1]'.encode()).decode().rstrip("=")
    code, why = operator.error(f'{{ deadLetters(after: "{cursor}") {{ totalCount }} }}')
    assert code == "BAD_USER_INPUT"
    assert why.startswith("after: expected an endCursor of this list")
