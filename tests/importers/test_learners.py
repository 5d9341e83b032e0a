"""One file has the past of many learners: each gets what a file of their own would give."""

import contextlib
import csv
import io
import itertools
import json
import os
import random
import re
import subprocess
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.errors import ReviewLogError
from progress.importers import anki_events, review_log, review_rows
from progress.importers.review_log import Answer
from progress.projections import views
from progress.projections.projector import Projector
from progress.serve.laptop import postgres
from tests.conftest import Store
from tests.support import cli, model_rows
from tests.support.posts import NotedIngest
from tests.support.stage import Stage, append

START = datetime(2024, 3, 1, 20, tzinfo=UTC)
HEADER = ("user_id", "card_id", "review_time", "review_rating", "interval_days", "timezone")
# Lines that are no rows, each with a part of the reason; the last two also end what is around them.
FAULTS = {
    b"ann,a,2024-03-01,9,,": "row {}, column review_rating: expected 1, 2, 3 or 4, found '9'",
    b"ann,a,soon,3,,": "row {}, column review_time: expected a time",
    b",a,2024-03-01,3,,Asia/Kolkata": "row {}, column user_id: expected 1 to 200 characters",
    b"ann": "row {}, column review_rating: expected 1, 2, 3 or 4, found nothing",
    b"ann,\xff,2024-03-01,3,,": "row {}, column card_id: expected UTF-8",
    b'ann,"a,2024-03-01,3,,': "row {}: expected csv, ",
}


MASKED = {("email", "learner@example.com")}


class Review(NamedTuple):
    user: str
    card: str
    minute: int
    rating: int
    days: str

    def cells(self, zone: str) -> tuple[str, ...]:
        at = START + timedelta(minutes=self.minute)
        return (self.user, self.card, at.isoformat(), str(self.rating), self.days, zone)


reviews = st.builds(
    Review,
    user=st.sampled_from(["ann", "Ben", "c,d"]),
    card=st.sampled_from("ab"),
    minute=st.integers(0, 2_000),
    rating=st.integers(0, 4),
    days=st.sampled_from(["", "3", "0.5"]),
)
zones = st.fixed_dictionaries(
    {user: st.sampled_from(["", "Asia/Tokyo", "Europe/Berlin"]) for user in ("ann", "Ben", "c,d")}
)


def expect(rows: list[Review], zones: dict[str, str]) -> dict[str, Any]:
    answers: dict[str, dict[tuple[str, int], Answer]] = {user: {} for user in zones}
    for row in rows:
        at, days = START + timedelta(minutes=row.minute), float(row.days) if row.days else None
        if row.rating:
            answer = Answer(at, row.card, row.rating, None, days)
            answers[row.user].setdefault((row.card, row.minute), answer)
    return {
        event["event_id"]: event
        for user, of_user in answers.items()
        for message in anki_events.messages(
            anki_events.Learner(user, zones[user] or None), sorted(of_user.values())
        )
        for event in message.events
    }


def write(file: Path, rows: list[Review], zones: dict[str, str], faults: list[Any]) -> list[str]:
    left, reasons = dict(zones), list[str]()
    lines = [join(HEADER), *(join(row.cells(left.pop(row.user, ""))) for row in rows)]
    for place, line in faults:
        lines.insert(place % len(lines) + 1, line)
    for number, line in enumerate(lines, start=1):
        reasons += [FAULTS[line].format(number)] if line in FAULTS else []
    file.write_bytes(b"\n".join(lines))
    return reasons


def count_rows(line: str) -> int:
    more = re.search(r" \(and ([0-9,]+) more of this kind\)$", line)
    return int(more[1].replace(",", "")) + 1 if more else 1


def join(cells: tuple[str, ...]) -> bytes:
    csv.writer(target := io.StringIO(), lineterminator="").writerow(cells)
    return target.getvalue().encode()


def convert(file: Path) -> Path:
    target = file.with_suffix(".parquet")
    with closing(duckdb.connect()) as duck:
        duck.execute(f"COPY (SELECT *, [1] AS other FROM '{file}') TO '{target}'")  # noqa: S608
    return target


def import_file(url: str, file: Path, ingest: NotedIngest) -> tuple[dict[str, Any], list[str]]:
    command = ("import", "reviews", str(file), "--json")
    answer = cli.progress(url, *command, **ingest.environment)
    report: dict[str, Any] = json.loads(cli.expect_success(answer))
    return report, [line for line in answer.stderr.splitlines() if line.startswith("row ")]


@given(
    rows=st.lists(reviews, max_size=40).map(lambda rows: [*rows, Review("ann", "a", 5, 3, "")]),
    zones=zones,
    faults=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([*FAULTS])), max_size=6),
    seed=st.none() | st.integers(0, 9),
)
def test_each_learner_gets_the_events_and_the_rows_of_a_history_that_is_sent_one_by_one(
    *,
    stage: Stage,
    noted_ingest: NotedIngest,
    rows: list[Review],
    zones: dict[str, str],
    faults: list[Any],
    seed: int | None,
) -> None:
    """`seed` is that of the order in which events are sent; without one, the file is Parquet."""
    stage.sweep()
    noted_ingest.forget()
    with tempfile.TemporaryDirectory() as folder:
        faults = [] if seed is None else faults
        reasons = write(file := Path(folder, "log.csv"), rows, zones, faults)
        report, told = import_file("", convert(file) if seed is None else file, noted_ingest)
        published = noted_ingest.events
    expected = msgspec.to_builtins(expect(rows, zones))
    assert {event["event_id"]: event for event in published} == expected
    assert len(published) == len(expected) == report["published"] == report["appended"]
    assert report["faulty"] == len(reasons)
    assert report["recorded_before"] == 0
    assert sum(map(count_rows, told)) == len(reasons)
    assert len({re.sub("^row [0-9]+|, found .*| .and .*", "", line) for line in told}) == len(told)
    for line in told:
        assert any(map(line.startswith, reasons))
    one_by_one = random.Random(seed).sample(published, len(published))
    assert fold(stage, published, 50) == fold(stage, one_by_one, 1)


def fold(stage: Stage, events: list[dict[str, Any]], size: int) -> model_rows.Rows:
    """Return the rows after deliveries of this size, without the times of recording."""
    stage.sweep()
    for begin in range(0, len(events), size):
        append(stage.admin, events[begin : begin + size])
    Projector(stage.admin).catch_up_all()
    rows = model_rows.read_rows(stage.admin)
    for row in rows["user_progress"].values():
        del row["last_updated"]
    return rows


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.exhaustive)])
def test_imports_that_are_killed_lose_and_double_nothing(
    store: Store, connection: Connection, noted_ingest: NotedIngest, tmp_path: Path, kills: int
) -> None:
    """The first kill is in the sort, the others before or after ingest records a post."""
    order = random.Random(kills)
    rows = [
        Review(f"u{n % 60:02}", f"c{n % 7}", n // 60 * 9, 1 + n % 4, "")
        for n in range(kills * 1_500)
    ]
    order.shuffle(rows)
    users = {row.user: "Asia/Tokyo" for row in rows}
    write(file := tmp_path / "log.csv", rows, users, [])
    for number in range(kills):
        post = order.randrange(4) if number else None
        kill(store.url, file, noted_ingest, post, is_recorded=order.random() < 0.5)
    report, _ = import_file(store.url, file, noted_ingest)
    assert report["recorded_before"] + report["answers"] == len(rows)
    assert report["published"] == report["appended"]
    again, _ = import_file(store.url, file, noted_ingest)
    assert (again["published"], again["recorded_before"]) == (0, len(rows))
    stored = {str(event.event_id): event for event in model_rows.read_events(connection)}
    expected = expect(rows, users)
    assert stored.keys() == expected.keys()
    for event_id, event in stored.items():
        assert event.occurred_at == expected[event_id]["occurred_at"]
        assert event.data.items() >= expected[event_id]["data"].items() - MASKED


def kill(url: str, file: Path, ingest: NotedIngest, post: int | None, *, is_recorded: bool) -> None:
    """Start an import, and kill it in the sort or at this post, or let it end before."""
    (folder := file.parent / "sorted").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [*cli.COMMAND, "import", "reviews", str(file)],
        cwd=cli.ROOT,
        env=settings.child_env(DATABASE_URL=url, **ingest.environment, TMPDIR=str(folder)),
        stdout=subprocess.DEVNULL,
    )
    if post is None:
        while not find_open(process, folder):
            assert process.poll() is None, "the import ended before its sort"
        process.kill()
        process.wait()
        assert not [*folder.iterdir(), *ingest.posts]
        return
    remaining = itertools.count(post, -1)

    def end() -> None:
        if next(remaining) == 0:
            process.kill()
            process.wait()
            raise ConnectionError("killed")

    point = "on_recorded" if is_recorded else "on_request"
    setattr(ingest, point, end)
    process.wait()
    setattr(ingest, point, lambda: None)


def find_open(process: subprocess.Popen[bytes], folder: Path) -> bool:
    opened = Path(f"/proc/{process.pid}/fd")
    with contextlib.suppress(FileNotFoundError):  # the process closes files, and ends
        names = [
            str(one.readlink()) for one in opened.iterdir()
        ]  # a file is created, then unlinked
        unlinked = [name for name in names if re.fullmatch(rf"{folder}/.* \(deleted\)", name)]
        return len(unlinked) == review_rows._PARTS
    return False


def test_a_file_that_cannot_be_sorted_or_is_of_others_is_refused(
    tmp_path: Path, noted_ingest: NotedIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Review(user, "a", n, 3, "") for n, user in enumerate(["ann", "Ben", "ann"])]
    write(file := tmp_path / "log.csv", rows, {"ann": "", "Ben": ""}, [])
    options = noted_ingest.environment
    refused = cli.progress("", "import", "reviews", str(file), "--user", "me", **options)
    cli.expect_failure(refused, "found 2 learners: import it without --user")
    shown = cli.expect_success(cli.progress("", "import", "reviews", str(file), **options))
    assert "sorting them takes 0.0 MB in " in shown
    assert "3 answers of 2 learners to 2 cards" in shown
    monkeypatch.setattr(review_rows, "_MOST_BYTES", 100)
    with pytest.raises(ReviewLogError, match="sort the file first, or split it"):
        review_rows.sort(file, review_log.open_rows(file)[0], lambda _: None)
    write(file, [Review("ann", "a", 0, 3, "")] * 2, {"ann": ""}, [])
    cli.expect_success(cli.progress("", "import", "reviews", str(file), "--user", "me", **options))
    assert noted_ingest.events[-1]["metadata"]["user_id"] == "me"
    write(file, [], {}, [])
    refused = cli.progress("", "import", "reviews", str(file), **options)
    assert refused.stderr.endswith("log.csv: the review log has no answers\n"), refused
    seconds = [b"ann,a,1711744359,3,,", *[b"ann,a,1711744359.5,3,,"] * 8]
    file.write_bytes(b"\n".join([join(HEADER), *seconds]))
    refused = cli.progress("", "import", "reviews", str(file), **options)
    *_, fault, reason = refused.stderr.splitlines()
    assert fault.endswith("multiply them by 1,000, found '1711744359' (and 8 more of this kind)")
    assert reason.endswith("the review log has no answers: all 9 rows have a fault")


TABLES = """
CREATE TABLE users (id text, timezone text);
INSERT INTO users VALUES ('ann', 'Asia/Tokyo'), ('Ben', NULL);
CREATE TABLE cards (id text, user_id text, due timestamptz);
INSERT INTO cards VALUES ('a', 'ann', '2024-03-09Z'), ('b', 'Ben', '2024-03-20Z');
CREATE TABLE review_logs (id int, card_id text, review timestamptz, rating int, scheduled_days int);
INSERT INTO review_logs VALUES (1, 'a', '2024-03-01Z', 3, 0), (2, 'a', '2024-03-04Z', 1, 3),
    (3, 'b', '2024-03-02Z', 4, 0);
CREATE TABLE reviews (id, user_id, card_id, reviewed_at, quality, interval_days) AS
SELECT l.id, c.user_id, c.id, l.review, l.rating + (l.rating > 1)::int, l.id * 2.5
FROM review_logs l JOIN cards c ON c.id = l.card_id;
CREATE TABLE answers (id, user_id, question_id, answered_at, is_correct, response_ms) AS
SELECT l.id, c.user_id, c.id, l.review, l.rating > 1, 900
FROM review_logs l JOIN cards c ON c.id = l.card_id;
"""
SCHEDULES = [
    {(3, 3, None), (1, None, "2024-03-09"), (4, None, "2024-03-20")},
    {(3, 2.5, None), (1, 5, None), (4, 7.5, None)},
    {(3, 2, None), (1, 1, None), (3, 2, None)},
]


@pytest.mark.parametrize("number", range(3))
def test_the_documented_queries_export_what_an_import_reads(
    store: Store, connection: Connection, noted_ingest: NotedIngest, tmp_path: Path, number: int
) -> None:
    text = (cli.ROOT / "docs" / "from-an-app.md").read_text(encoding="utf-8")
    query = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)[number]
    connection.execute_simple(
        "CREATE SCHEMA app; SET search_path = app; SET TimeZone = 'UTC';" + TABLES
    )
    rows = connection.run(query)
    names = [column["name"] for column in connection.columns]
    lines = [join(tuple("" if cell is None else str(cell) for cell in row)) for row in rows]
    (file := tmp_path / "history.csv").write_bytes(b"\n".join([join(tuple(names)), *lines]))
    report, _ = import_file("", file, noted_ingest)
    assert (report["answers"], report["learners"], report["faulty"]) == (3, 2, 0)
    Projector(connection).catch_up_all()
    views.follow(connection, None)
    (compare,) = re.findall(r"```bash\n(ours=.*?)```", text, re.DOTALL)
    assert run_comparison(compare, store.url) == ""
    connection.run("DELETE FROM app.reviews WHERE id = 3")
    assert run_comparison(compare, store.url) == "1d0\n< Ben,1\n"
    reviews = [event["data"] for event in noted_ingest.events if "rating" in event["data"]]
    dues = [event["due"][:10] if "due" in event else None for event in reviews]
    found = [(event["rating"], event.get("interval_days")) for event in reviews]
    assert {(*one, due) for one, due in zip(found, dues, strict=True)} == SCHEDULES[number]


def run_comparison(commands: str, url: str) -> str:
    """Return what differs between the app and Progress, whose tables are in one database."""
    both = {"PROGRESS": url, "APP": url, "PGOPTIONS": "-csearch_path=app"}
    path = f"{postgres.programs()}:{os.environ['PATH']}"
    environment = settings.child_env(**both, PATH=path)
    command = ["bash", "-uc", commands]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.stdout
