"""The generated event contract: its files are current, and its schemas agree with ingest."""

import functools
import hashlib
import json
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import regress
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from progress.event_store import entries, envelope, events, outgoing
from progress.event_store.contract import asyncapi, document, files, schemas
from progress.event_store.contract.fields import FIELDS, example
from progress.event_store.entries import Message
from progress.event_store.events import EVENT_TYPES, TOPICS
from tests.conftest import skip_without

Event = dict[str, Any]

ROOT = Path(__file__).parents[2]
# AsyncAPI's own schemas, as an npm package, and its SHA-256.
SPECS = "@asyncapi/specs@6.11.1"
SPECS_HASH = "01af8744dc33c0c7eb2e908f6a955319ee58b70ecadc9387d1aeb16c0cd28928"
EVENTS_PER_EXAMPLE = 40  # Hypothesis runs 25 examples: 1,000 events

SCHEMAS = schemas.make_all()
REASONS = [rule.reason for rule in document.unexpressed_rules()]


_compile = functools.cache(regress.Regex)


def match_pattern(_: object, pattern: str, value: object, __: object) -> Any:
    """Match the pattern as JavaScript would: JSON Schema uses JavaScript's regular expressions."""
    if isinstance(value, str) and not _compile(pattern).find(value):
        yield ValidationError(f"{value!r} does not match {pattern}")


def validator(name: str, draft: Any = Draft202012Validator) -> Any:
    """Return a validator of a generated schema; the validator finds other schemas by file name.

    `$schema` is removed from all schemas. If a referenced schema had a `$schema`, jsonschema would
    match that schema's patterns with Python's regular expressions, not with `match_pattern`.
    """
    bare = {
        other: {key: value for key, value in schema.items() if key != "$schema"}
        for other, schema in SCHEMAS.items()
    }
    registry: Registry[Any] = Registry().with_resources(
        (f"{other}.json", DRAFT202012.create_resource(schema)) for other, schema in bare.items()
    )
    return validators.extend(draft, {"pattern": match_pattern})(bare[name], registry=registry)


ANY_EVENT = validator(schemas.ENVELOPE)
BY_TYPE = {name: validator(name) for name in EVENT_TYPES}
BY_TYPE_IN_DRAFT_7 = {name: validator(name, Draft7Validator) for name in EVENT_TYPES}


def find_reason(text: str) -> str | None:
    message = Message(published_at=datetime(2024, 5, 1, tzinfo=UTC))
    (entry,) = envelope.decode(text.encode(), message)
    return entry.reason if isinstance(entry, entries.Rejection) else None


ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 5.0, 0.99, 10, 10.01, 23, 24, 100, 101, 1_000, 1_001, 10_000),
    *(10_001, 36_500, 36_501, 86_400, 86_401, 86_400_000, 86_400_001, 10**30, -0.0),
    *("", "x", "x" * 200, "x" * 201, "日" * 200, "𝔘" * 200, "𝔘" * 201, "x\n", "A2", "a2", "A2\n"),
    *("own:x", "x" * 100, "x" * 101, 2**31 - 1, 2**31),
    *([], ["R"], ["R", "R"], ["S", "L", "W", "R"], ["X"], [None], [1, True], {}, {"user_id": ""}),
    *("Europe/Berlin", "Mars/Olympus", "en", "en-GB", "e_n", "en-", "x" * 36, "zh-Hant-TW"),
    *("2024-03-29", "2024-02-30", "2024-3-29", "1999-12-31", "2100-01-01", "2024-03-29\n"),
    *("2024-03-29T20:32:32Z", "2024-03-29t23:59:60.1234567890+05:30", "2024-02-30T00:00:00Z"),
    *("2024-03-29 20:32:32Z", "2024-03-29T24:00:00Z", "1999-12-31T23:00:00Z", "0000-01-01"),
    *("0000-01-01T00:00:00Z", "2024-03-29T20:32:32Z\n", "２024-03-29T20:32:32Z"),
    *("1999-12-31T23:59:59-00:01", "2024-03-29T20:32:32"),
]  # fmt: skip
TYPES = [*EVENT_TYPES, "BadgeAwarded"]


def generate(source: random.Random) -> Event:
    """Return an example event after up to four random changes. Most changes make it invalid."""
    kind = source.choice(TYPES)
    declared = EVENT_TYPES.get(kind, events.Event)
    event: Event = {**example(declared), "event_type": kind}
    if source.random() < 0.5:
        event["metadata"] = {"correlation_id": 5}
    for _ in range(source.choice((0, 1, 1, 2, 4))):
        source.choice(CHANGES)(source, event)
    return event


def _set_field(source: random.Random, event: Event) -> None:
    if isinstance(data := event.get("data"), dict):
        data[source.choice([*data, *FIELDS, "type"])] = source.choice(ODD)


def _set_own_field(source: random.Random, event: Event) -> None:
    if isinstance(data := event.get("data"), dict) and data:
        data[source.choice([*data])] = source.choice(ODD)


def _drop_field(source: random.Random, event: Event) -> None:
    if isinstance(data := event.get("data"), dict) and data:
        del data[source.choice([*data])]


def _change_envelope(source: random.Random, event: Event) -> None:
    event[source.choice([*event, "metadata"])] = source.choice([*ODD, *TYPES])


def _drop_from_envelope(source: random.Random, event: Event) -> None:
    event.pop(source.choice([*event, "metadata"]), None)


def _set_metadata(source: random.Random, event: Event) -> None:
    names = ("user_id", "timestamp", "causation_id")
    event["metadata"] = {source.choice(names): source.choice(ODD)}


def _move_to_metadata(source: random.Random, event: Event) -> None:
    if isinstance(data := event.get("data"), dict) and "user_id" in data:
        event["metadata"] = {"user_id": data.pop("user_id")}
    if isinstance(metadata := event.get("metadata", {}), dict):
        event["metadata"] = {**metadata, "timestamp": event.pop("occurred_at", None)}


def _tag(source: random.Random, event: Event) -> None:
    if isinstance(data := event.get("data"), dict):
        data["type"] = event.get("event_type")
        event["event_type"] = source.choice((None, None, "SessionAbandoned"))


CHANGES: list[Callable[[random.Random, Event], None]] = [
    *(_set_own_field, _set_own_field, _set_field, _drop_field, _change_envelope),
    *(_drop_from_envelope, _set_metadata, _move_to_metadata, _tag),
]


@given(seed=st.integers(0, 2**32))
def test_the_schemas_and_ingest_agree_except_on_rules_that_the_schemas_do_not_express(
    seed: int,
) -> None:
    source = random.Random(seed)
    verdicts = {True: 0, False: 0}
    for _ in range(EVENTS_PER_EXAMPLE):
        event = generate(source)
        text = json.dumps(event)
        reason, is_valid = find_reason(text), ANY_EVENT.is_valid(event)
        if reason is not None and is_valid:
            assert any(words in reason for words in REASONS), (reason, text)
            assert "an integer" not in reason or is_float(event, reason), (reason, text)
        else:
            assert is_valid == (reason is None), (reason, text)
        verdicts[is_valid] += 1
        kind = str(event.get("event_type"))
        if kind in EVENT_TYPES:
            assert BY_TYPE[kind].is_valid(event) == is_valid, text
            assert BY_TYPE_IN_DRAFT_7[kind].is_valid(event) == is_valid, text
    assert min(verdicts.values()) >= EVENTS_PER_EXAMPLE // 10


def is_float(event: Event, reason: str) -> bool:
    return isinstance(event["data"][reason.rpartition(".")[2]], float)


def answer(**changed: Any) -> str:
    event = example(EVENT_TYPES["CorrectAnswerGiven"])
    event["data"] |= changed
    return json.dumps(event)


NESTED = "[" * 63 + "]" * 63
BREAKING = {
    "an integer": answer(response_time_ms=5.0),
    "an RFC 3339 time": answer().replace("03-29T", "02-30T"),
    "from 2000-01-01 on": answer().replace("2024-", "1999-"),
    "an IANA zone name": json.dumps(
        example(EVENT_TYPES["UserCreated"])
        | {"data": {"user_id": "u", "email": "", "timezone": ""}}
    ),
    "begin with own:": json.dumps(
        example(EVENT_TYPES["ListUnassigned"]) | {"data": {"group_id": "g", "list_id": "own:l"}}
    ),
    "a list without progress-task-": json.dumps(
        example(EVENT_TYPES["ListPublished"]) | {"data": {"list_id": "progress-task-", "name": "x"}}
    ),
    "64 levels": answer(more="NESTED").replace('"NESTED"', NESTED),
    "without U+0000": answer(more="\0"),
    "lone surrogates": answer(more="\ud800"),
    "a finite double": answer(more="BIG").replace('"BIG"', "1e400"),
    "1048576 bytes": answer(more="x" * 1_048_576),
}  # fmt: skip


def test_each_listed_rule_rejects_an_event_that_the_schema_accepts() -> None:
    for reason in REASONS:
        assert reason in (find_reason(BREAKING[reason]) or "")
        assert ANY_EVENT.is_valid(json.loads(BREAKING[reason]))


def test_the_example_of_each_event_type_is_valid_and_has_every_field() -> None:
    for name, declared in EVENT_TYPES.items():
        event = example(declared)
        assert find_reason(json.dumps(event)) is None
        BY_TYPE[name].validate(event)
        fields, required = schemas.describe_data(declared)
        assert fields.keys() == event["data"].keys() <= FIELDS.keys(), "describe it in fields.py"
        assert {*required} <= fields.keys()


def test_a_message_is_an_event_or_an_array_of_events() -> None:
    good, message = example(EVENT_TYPES["SessionStarted"]), validator(schemas.MESSAGE)
    for valid in (good, [good], [], [good, good]):
        assert message.is_valid(valid)
    invalid_messages: list[Any] = ["x", [good, {}], [[good]], {}]
    for invalid in invalid_messages:
        assert not message.is_valid(invalid)


def test_the_strict_schema_knows_only_the_declared_types() -> None:
    strict = validator(schemas.STRICT)
    for declared in EVENT_TYPES.values():
        event = example(declared)
        tagged = {
            **event,
            "event_type": None,
            "data": {**event["data"], "type": event["event_type"]},
        }
        assert strict.is_valid(event)
        assert strict.is_valid(tagged)
        misspelt = {**event, "event_type": f"{event['event_type']}s"}
        assert ANY_EVENT.is_valid(misspelt)
        assert not strict.is_valid(misspelt)
        assert not strict.is_valid({**event, "occurred_at": 5})


def test_the_generated_schemas_are_valid_json_schemas() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_the_asyncapi_document_is_valid(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    fetch = ["npm", "pack", "--silent", "--pack-destination", str(tmp_path), SPECS]
    if not shutil.which("npm") or subprocess.run(fetch, check=False).returncode:
        skip_without(request, "npm", f"and its registry, for {SPECS}")
    (archive,) = tmp_path.iterdir()
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SPECS_HASH
    with tarfile.open(archive) as package:
        content = package.extractfile("package/schemas/3.0.0.json")
        assert content
        Draft7Validator(json.load(content)).validate(asyncapi.make())


def test_the_asyncapi_document_has_every_event_type_in_the_right_topic() -> None:
    document = asyncapi.make()
    carried = {
        (name, topic) for topic, channel in document["channels"].items()
        for name in channel["messages"] if topic != outgoing.TOPIC
    }  # fmt: skip
    assert carried == set(TOPICS.items()) == {(name, TOPICS[name]) for name in EVENT_TYPES}
    for message in document["components"]["messages"].values():
        path = message["payload"]["schema"]["$ref"]
        assert (ROOT / "schemas" / path).is_file()


def test_the_generated_files_are_up_to_date() -> None:
    assert files.find_stale(ROOT) == [], "run progress schema events"


def test_stale_files_are_written_and_obsolete_schemas_are_deleted(tmp_path: Path) -> None:
    obsolete = tmp_path / "schemas" / "events" / "Obsolete.json"
    obsolete.parent.mkdir(parents=True)
    obsolete.touch()
    assert {*files.write(tmp_path)} == {*files.make(), obsolete.relative_to(tmp_path)}
    assert not obsolete.exists()
    assert files.write(tmp_path) == []
