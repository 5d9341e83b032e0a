"""`progress publish` checks lines by the rules of ingest, packs them, and warns of future times."""

import csv
import itertools
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from progress import settings
from progress.event_store import envelope, intake
from progress.event_store.entries import Message, Rejection
from progress.importers import envelope_lines, review_log
from tests.support import cli, envelopes, programs, sample_events
from tests.support.fake_publisher import FakePublisher
from tests.support.posts import NotedIngest

DOCUMENT = (Path(__file__).parents[2] / "docs/publishing.md").read_text(encoding="utf-8")
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


def line(kind: str = "SessionStarted", at: datetime = NOW, **data: object) -> bytes:
    data = {"user_id": "u", "session_id": "s", "item_count": 1} | data
    event = {
        "event_id": f"{kind} {sorted(data)}",
        "event_type": kind,
        "occurred_at": f"{at.isoformat()}",
    }
    return json.dumps(event | {"data": data}).encode()


answer = line("CorrectAnswerGiven", item_id="i", response_time_ms=9)
item = line("ItemPublished", item_id="i", domains=["R"])
flat, recorded, cloud = (
    json.dumps(envelopes.reshape(json.loads(item), form)).encode()
    for form in ("flat", "recorded", "cloud")
)
unnamed = b'{"type": "ReviewProcessed", "user_id": "u", "item_id": "i", "new_interval": 1}'
forms = [flat, recorded, cloud, unnamed]
valid = [line(), answer, item, *forms, line("Unheard"), b"[%b,%b]" % (answer, item), b"[]", b""]
invalid = [b"garbage", line(item_count=-1), b"[1", b'"text"', b"{}", b'{"a": NaN}']
lines = st.lists(st.sampled_from(valid + invalid), max_size=120)
ID = "aaaaaaaa-0000-4000-8000-000000000000"


def outcomes(data: bytes) -> list[object]:
    entries = envelope.decode(data, Message(message_id="m", published_at=NOW))
    return [e.reason if isinstance(e, Rejection) else (e.event_type, e.data) for e in entries]


@given(lines)
def test_packed_lines_have_the_same_outcomes_as_single_lines_and_keep_their_order(
    file: list[bytes],
) -> None:
    checked = list(envelope_lines.check(file, NOW))
    packed = list(envelope_lines.pack(checked))
    for topic in {row.topic for row in checked}:
        alone = [outcomes(row.data) for row in checked if row.topic == topic]
        together = [outcomes(message.data) for message in packed if message.topic == topic]
        assert list(itertools.chain(*together)) == list(itertools.chain(*alone))
    assert sum(message.count for message in packed) == sum(row.events for row in checked)
    assert all(message.count <= 100 for message in packed)


def test_a_hundred_events_of_a_topic_or_a_mebibyte_share_a_message() -> None:
    for file, counts in (
        ([answer, item] * 250, [50, 50, 100, 100, 100, 100]),
        ([line(note="x" * 500_000)] * 3, [1, 2]),
    ):
        packed = envelope_lines.pack(envelope_lines.check(file, NOW))
        assert sorted(message.count for message in packed) == counts


@given(lines)
def test_a_line_is_rejected_if_and_only_if_ingest_would_reject_one_of_its_events(
    file: list[bytes],
) -> None:
    for row in envelope_lines.check(file, NOW):
        rejections = [
            entry.reason
            for entry in envelope.decode(row.data, Message(message_id="m", published_at=NOW))
            if isinstance(entry, Rejection)
        ]
        assert row.reason == next(iter(rejections), "")
        assert file[row.number - 1].strip() == row.data


def test_an_event_in_any_form_goes_to_the_topic_of_its_type_under_its_own_id() -> None:
    named, *_ = envelope_lines.check([item], NOW)
    *rows, last = envelope_lines.check(forms, NOW)
    assert {(row.topic, *row.event_ids) for row in rows} == {(named.topic, *named.event_ids)}
    assert (last.topic, last.event_ids, last.unnamed) == ("algorithm-events", [], 1)
    other = cloud.replace(b'"R"', b'"W"')
    assert [row.reason[:7] for row in envelope_lines.check([flat, cloud, other], NOW)] == [
        *("", "", "line 1 ")
    ]


def test_an_event_without_an_id_or_a_time_gets_one_when_it_is_posted(
    noted_ingest: NotedIngest,
) -> None:
    timeless = line("ItemArchived", item_id="i").replace(b"occurred_at", b"left_out")
    text = b"\n".join([item, unnamed, b"[%b,\r%b]" % (unnamed, timeless)]).decode()
    for shown in ("4 appended", "2 appended, 1 redelivered, 1 dead letters"):
        done = cli.progress("", "publish", "-", text=text, **noted_ingest.environment)
        assert cli.expect_success(done) == f"4 published\n{shown}\n"
        warning = "line 2 (also line 3): no event_id; each time that it is published, it counts"
        assert f"{warning} once more\n" in done.stderr
    assert "line 3, index 1: conflict: expected the same content" in done.stderr
    (first, _), (second, _) = (posted[1:3] for posted in noted_ingest.posts)
    assert first["data"] == second["data"] == {"user_id": "u", "item_id": "i", "new_interval": 1}


def test_what_became_of_each_event_is_printed(noted_ingest: NotedIngest) -> None:
    bad, odd = line(item_count=-1), line("SesionStarted")
    waiting = line("CorrectAnswerGiven", session_id="unknown", item_id="i", user_id=None)
    text = b"\n".join([line(), line(), b"", b"[%b,%b]" % (waiting, odd), bad]).decode()

    def publish(*options: str) -> cli.Result:
        return cli.progress("", "publish", "-", *options, text=text, **noted_ingest.environment)

    assert publish("--strict").returncode == publish().returncode == 1
    assert noted_ingest.posts == []
    done = publish("--force", "--json")
    report = json.loads(cli.expect_success(done))
    letters = report.pop("dead_letters")
    counts = {"published": 5, "appended": 2, "redelivered": 1, "pending": 1, "erased": 0}
    assert report == counts | {"unknown_types": 1}
    assert [(one["index"], one["kind"], one["reason"]) for one in letters] == [
        (4, "invalid", outcomes(bad)[0])
    ]
    done = publish("--force", "--strict")
    assert done.stdout == "5 published\n0 appended, 4 redelivered, 1 dead letters\n"
    place, end = done.stderr.splitlines()[-2:]
    assert (
        place == f"line 5, index 0: invalid: {outcomes(bad)[0]} (event_id {letters[0]['event_id']})"
    )
    assert (end, done.returncode) == ("progress: 1 events became dead letters", 1)
    text = f"{waiting.decode()}\ngarbage"
    refused = publish("--force")
    assert refused.stderr.endswith("line 2: expected JSON - at byte 0; only JSON can be posted\n")


def test_events_for_the_cloud_go_to_the_topics_of_their_types(
    fake_publisher: FakePublisher,
) -> None:
    text = b"\n".join([item, unnamed, b"garbage"]).decode()
    cloud = {"PUBSUB_EMULATOR_HOST": fake_publisher.address}
    done = cli.progress("", "publish", "-", "--pubsub", "--force", text=text, **cloud)
    assert cli.expect_success(done) == "3 published\n"
    sent = {
        r.topic.rpartition("/")[2]: [m.data for m in r.messages] for r in fake_publisher.requests
    }
    assert sent == {
        "vocabulary-events": [item], "algorithm-events": [unnamed], "learning-events": [b"garbage"]
    }  # fmt: skip


def test_a_line_is_rejected_that_is_ten_minutes_ahead_too_large_or_not_json() -> None:
    ten = NOW + timedelta(minutes=10)
    for data, reason in (
        (line(at=ten), ""),
        (line(at=ten + timedelta(seconds=1)), "clock - at $.occurred_at"),
        (b"[" + b",".join([line(note="x" * 999_000)] * 11) + b"]", "9,990,000 bytes - at $"),
        (b"{", "expected JSON - at character 1"),
        (b'{"event_id": "\xff"}', "expected UTF-8 - at byte 14"),
        (b"[" * 100_000, "brackets that are not closed"),
    ):
        [row] = envelope_lines.check([data], NOW)
        assert row.reason.endswith(reason)
        assert bool(row.reason) == bool(reason)
        assert row.misspelt == {}


def test_a_line_is_rejected_if_an_earlier_event_has_the_same_id_but_other_content() -> None:
    other = line(item_count=2)
    file = [answer, line(), line(), other, b"[%b,%b]" % (item, other), b"[%b,%b]" % (item, item)]
    rows = list(envelope_lines.check(file, NOW))
    expected = "line 2 has this id with other content - at $.event_id"
    assert [row.reason for row in rows] == ["", "", "", expected, expected, ""]
    assert [len(row.faults) for row in rows] == [0, 0, 0, 1, 1, 0]
    alone = b"[%b,%b]" % (line(), other)
    [row] = envelope_lines.check([alone], NOW)
    assert row.reason.startswith("an earlier event of this line has this id with other content")
    nobody = json.loads(line("CorrectAnswerGiven", item_id="i", user_id=None))
    of_each = [
        json.dumps(nobody | {"event_id": id_, "metadata": {"user_id": user}}).encode()
        for id_, user in ((ID, "ann"), (ID.upper(), "ben"))
    ]
    reasons = [row.reason for row in envelope_lines.check(of_each, NOW)]
    assert reasons == ["", expected.replace("2", "1")]


def test_a_misspelt_field_is_matched_to_the_declared_field_unless_the_event_has_both() -> None:
    created = {"event_id": "e", "event_type": "UserCreated"}
    data = {"user_id": "u", "email": "a@example.com"}
    cases: list[tuple[dict[str, object], dict[str, str]]] = [
        ({"occured_at": "t", "data": data}, {"occured_at": "occurred_at"}),
        ({"data": data | {"time_zone": "UTC"}}, {"time_zone": "timezone"}),
        ({"data": data | {"dayStartHour": 4}}, {"dayStartHour": "day_start_hour"}),
        ({"data": data | {"time_zone": "UTC", "timezone": "UTC"}}, {}),
        ({"data": data | {"nickname": "ann"}, "source": "app"}, {}),
    ]
    for fields, misspelt in cases:
        event = json.dumps(created | fields).encode()
        assert envelope_lines.find_misspelt(event) == misspelt
        assert envelope_lines.find_misspelt(b"[%b, 1]" % event) == misspelt
    typo = {"type": "UserCreated", "user_id": "u", "time_zone": "UTC", "occured_at": "t"}
    assert envelope_lines.find_misspelt(json.dumps(typo).encode()) == {
        "time_zone": "timezone", "occured_at": "occurred_at"
    }  # fmt: skip
    assert envelope_lines.find_misspelt(cloud) == {}
    undeclared = json.dumps({"event_type": "Unheard", "data": {"time_zone": "UTC"}}).encode()
    assert envelope_lines.find_misspelt(undeclared) == {}
    nearest = map(intake.find_meant, ("CorectAnswerGiven", "session_started", "xyz"))
    assert [*nearest] == ["CorrectAnswerGiven", "SessionStarted", None]


FUTURE = (datetime(2999, 4, 5, 6, 7, 8, tzinfo=UTC), datetime(2998, 4, 5, 6, 7, 8, tzinfo=UTC))
WARNING = (
    "2 of the events have a time more than 10 minutes ahead of the clock, the first "
    "2998-04-05T06:07:08Z: they become dead letters of the kind `future`, and the scheduled job "
    "records each of them when its time is near"
)


def test_publish_warns_once_about_all_events_in_the_future(
    noted_ingest: NotedIngest, tmp_path: Path
) -> None:
    events = [sample_events.envelope("UserDeleted", {"user_id": "u"}, at=at) for at in FUTURE]
    file = tmp_path / "events"
    past = json.dumps(sample_events.user_deleted("v"))
    file.write_text(f"{past}\n{json.dumps(events)}\n", encoding="utf-8")
    rejected = cli.progress("", "publish", str(file))
    reason = "expected a time at most 10 minutes ahead of the clock - at $.occurred_at"
    assert rejected.returncode == 1
    why, summary = rejected.stderr.splitlines()
    assert why == f"line 2: {reason}"
    assert "1 of 2 lines would be rejected; nothing was published" in summary
    answer = cli.progress("", "publish", "--force", str(file), **noted_ingest.environment)
    assert cli.expect_success(answer) == "3 published\n1 appended, 2 dead letters\n"
    assert answer.stderr.splitlines()[0] == WARNING


def test_an_import_warns_about_answers_in_the_future(
    noted_ingest: NotedIngest, tmp_path: Path
) -> None:
    file = tmp_path / "log.csv"
    with file.open("w", encoding="utf-8") as target:
        rows = [("c", 1, at.isoformat(), 0) for at in (sample_events.BEGIN, FUTURE[1])]
        csv.writer(target).writerows([(*review_log.COLUMNS, review_log.DURATION), *rows])
    command = ("import", "anki", str(file), "--json")
    answer = cli.progress("", *command, **noted_ingest.environment)
    report = json.loads(cli.expect_success(answer))
    assert (report["answers"], [one["kind"] for one in report["dead_letters"]]) == (
        2,
        ["future"] * 3,
    )
    # The session's begin and end, and the answer.
    assert WARNING.replace("2 of", "3 of") in answer.stderr.splitlines()


def check_file(text: bytes, *options: str) -> tuple[int, list[dict[str, object]], int]:
    nowhere = "postgresql:///d?host=/nowhere"
    answer = cli.progress(
        nowhere, "publish", "--check", "--json", "-", *options, text=text.decode()
    )
    report = json.loads(answer.stdout)
    return report["events"], report["faults"], answer.returncode


def test_a_check_names_the_line_and_the_index_of_each_fault_as_ingest_does() -> None:
    bad, misspelt = line(item_count=-1), line("SesionStarted")
    other = line(item_count=2)
    array = b"[\n  %b\n]" % b",\n  ".join([line(), bad, b"[]", other, misspelt])
    ours = outcomes(b"[%b]" % b",".join([bad, b"[]"]))
    conflict = "an earlier event of this line has this id with other content - at $.event_id"
    unknown = "unknown event type 'SesionStarted' (did you mean SessionStarted?) - at $.event_type"
    expected = [
        *({"line": None, "index": 1 + n, "reason": reason} for n, reason in enumerate(ours)),
        {"line": None, "index": 3, "reason": conflict},
    ]
    assert check_file(array) == (5, expected, 1)
    strict = {"line": None, "index": 4, "reason": unknown}
    assert check_file(array, "--strict") == (5, [*expected, strict], 1)

    lines = b"\n".join([line(), b"", b"[%b,%b]" % (answer, bad), b"garbage", misspelt])
    assert check_file(lines, "--strict") == (
        5,
        [
            {"line": 3, "index": 1, "reason": ours[0]},
            {"line": 4, "index": 0, "reason": "expected JSON - at character 0"},
            {"line": 5, "index": 0, "reason": unknown},
        ],
        1,
    )
    pretty = json.dumps(json.loads(line()), indent=2).encode()
    assert check_file(b"\xef\xbb\xbf" + pretty, "--strict") == (1, [], 0)
    (fault,) = check_file(pretty[:-1])[1]
    assert str(fault["reason"]).startswith("expected JSON - at character")


def test_a_check_explains_its_faults_and_publishes_nothing() -> None:
    nowhere = "postgresql:///d?host=/nowhere"
    done = cli.progress(nowhere, "publish", "--check", "-", text=line("Unheard").decode())
    assert cli.expect_success(done) == "no fault in 1 event\n"
    assert "unknown event type 'Unheard'" in done.stderr
    done = cli.progress(nowhere, "publish", "--check", "-", text="garbage\n" + line().decode())
    assert (done.returncode, done.stdout) == (1, "")
    assert "line 1, index 0: expected JSON - at character 0\n" in done.stderr
    assert cli.progress(nowhere, "publish", "--check", "--force", "-").returncode == 2


def test_the_documented_workflow_finds_the_faults_that_the_document_shows(tmp_path: Path) -> None:
    section = DOCUMENT.split("## Check events in CI")[1].split("\n## ")[0]
    (steps,) = re.findall(r"(?ms)^```yaml\n(.*?)^```", section)
    (step,) = (step["run"] for step in yaml.safe_load(steps) if "run" in step)
    command = step.splitlines()[-1].replace("venv/bin/python", sys.executable)
    completed = line("SessionCompleted", score=-1, duration_seconds=600)
    (tmp_path / "events.jsonl").write_bytes(line("SesionStarted") + b"\n" + completed)
    environment = settings.child_env(GITHUB_WORKSPACE=str(tmp_path))
    done = programs.try_run(["bash", "-euc", command], environment, folder=cli.ROOT)
    assert done.returncode == 1
    for shown in re.findall(r"^    (line .+)", section, re.MULTILINE):
        assert f"{shown}\n" in done.stderr


@given(st.lists(st.sampled_from([*valid[:-2], *invalid]), min_size=1, max_size=9))
def test_an_array_has_the_same_faults_as_its_lines(file: list[bytes]) -> None:
    entries = [each for each in file if not each.startswith(b"[")]
    (array,) = envelope_lines.check([b"[%b]" % b",".join(entries)], NOW)
    if any(each in (b"garbage", b'{"a": NaN}') for each in entries):
        assert len(array.faults) == 1  # not JSON at all
        return
    alone = [
        (n, each.reason)
        for n, entry in enumerate(entries)
        for each in envelope_lines.check([entry], NOW)
        if each.reason
    ]
    assert [(fault.index, fault.reason) for fault in array.faults] == alone
