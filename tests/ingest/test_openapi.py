"""The OpenAPI document describes each answer to a post, of a learner and of a publisher."""

import copy
import functools
import json
import random
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validators

from progress.event_store import bodies, entries, events
from progress.event_store.contract import openapi
from tests.conftest import Store
from tests.event_store import test_contract as contract
from tests.query.test_learner_posts import serve
from tests.support import api, pushes, token_issuer
from tests.support.fake_publisher import FakePublisher

DOCUMENT = openapi.make()
POST = DOCUMENT["paths"]["/events"]["post"]
CONTENT = POST["requestBody"]["content"]
EXAMPLES = [(bodies.JSON, each["value"]) for each in CONTENT[bodies.JSON]["examples"].values()]
EXAMPLES.append((bodies.LINES, CONTENT[bodies.LINES]["example"]))
EVENTS: list[Any] = [body for _, body in EXAMPLES if isinstance(body, dict)]
SCHEMAS = DOCUMENT["components"]["schemas"]
# The same with required fields alone; a review needs one of two.
SHORT = [
    event | {"data": {name: value for name, value in event["data"].items() if name in needed}}
    for event in EVENTS
    for needed in [[*SCHEMAS[f"{event['event_type']}Data"]["required"], "interval_days"]]
]
UNEXPRESSED = [*contract.REASONS, "the token's learner", "ahead of the clock"]
BODY, EVENT = (
    validators.extend(Draft202012Validator, {"pattern": contract.match_pattern})(
        schema | {"components": DOCUMENT["components"]}
    )
    for schema in (CONTENT[bodies.JSON]["schema"], SCHEMAS["Event"])
)
Send = Callable[..., list[Any]]


def check(path: str, method: str, status: int, headers: Mapping[str, str], body: bytes) -> Any:
    described = DOCUMENT["paths"][path][method]["responses"][str(status)]
    for name, header in described.get("headers", {}).items():
        Draft202012Validator(header["schema"]).validate(headers[name])
    schema = described["content"][headers["Content-Type"].partition(";")[0]]["schema"]
    told = json.loads(body)
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(told)
    return status, told


@pytest.fixture
def send(store: Store, fake_publisher: FakePublisher) -> Iterator[Send]:
    def send(path: str, media_type: str, body: object, *, token: bool = True) -> list[Any]:
        data = body if isinstance(body, str) else json.dumps(body, default=repr)
        raw = body if isinstance(body, bytes) else data.encode(errors="replace")
        method = "post" if path == "/events" else "get"
        kind = {"Content-Type": media_type}
        ours, theirs = (
            kind | {"Authorization": f"Bearer {each}"} if token else kind for each in tokens
        )
        one = served.request(method.upper(), path, raw, ours)
        two = ingest.open(path, method=method, data=raw, headers=theirs)
        return [
            check(path, method, one.status_code, one.headers, bytes(one.body)),
            check(path, method, two.status_code, dict(two.headers), two.data),
        ]

    tokens = [token_issuer.token("u-1", roles=roles) for roles in (None, "publisher")]
    options: Any = {"pubsub_emulator_host": fake_publisher.address, "learners_may_post": True}
    with api.serve(store.url, **options) as served, token_issuer.serve() as issuer:
        environment = issuer.environment(store.url)
        with pushes.load_ingest(store.url, fake_publisher, environment) as ingest:
            yield send


def test_a_validator_of_others_accepts_the_document_and_it_is_served() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator  # takes a second

    OpenAPIV31SpecValidator(DOCUMENT).validate()
    with api.serve(api.NOWHERE) as served:
        answer = served.request("GET", "/openapi.json")
    assert (answer.headers["content-type"], api.read(answer)) == ("application/json", DOCUMENT)


def test_what_the_examples_say_is_taken_as_the_document_says(send: Send) -> None:
    for media_type, body in EXAMPLES:
        text = body if isinstance(body, str) else json.dumps(body)
        count = len(bodies.split(text.encode(), media_type))
        (taken, told), (recorded, counts) = send("/events", media_type, body)
        assert (taken, told, recorded) == (202, {"accepted": count, "refused": []}, 200)
        named = sum(counts[name] for name in ("appended", "redelivered", "pending"))
        assert (named + len(counts["dead_letters"]), counts["unknown_types"]) == (count, 0)
        assert send("/events", media_type, body, token=False)[0][0] == 401
    assert send("/events", "text/plain", "x")[0][0] == 415
    assert {status for status, _ in send("/health", "", "")} == {200}


def vary(source: random.Random, event: Any) -> Iterator[Any]:
    """Yield the event with another value, or none, in each place."""
    own = SCHEMAS[f"{event['event_type']}Data"]["properties"]
    data = {*own, *entries.IDS, *entries.LATER_IDS, *events.READ_BY_TEACHERS.values()}
    envelope, metadata = {*event, "metadata"}, SCHEMAS["Metadata"]["properties"]
    for part, names in (("", envelope), ("data", data), ("metadata", metadata)):
        for name in sorted(names):
            changed = copy.deepcopy(event) | {
                "event_id": str(uuid.UUID(int=source.getrandbits(128)))
            }
            fields = changed.setdefault(part, {}) if part else changed
            fields[name] = source.choice([None, source.choice([*contract.ODD, *contract.TYPES])])
            if source.random() < 0.25:
                del fields[name]
            yield changed


@given(seed=st.integers(0, 2**32))
def test_an_event_is_valid_if_and_only_if_the_server_takes_it(
    store: Store, fake_publisher: FakePublisher, seed: int
) -> None:
    """The exceptions are the listed rules that schemas do not express."""
    source = random.Random(seed)
    posted = [*EVENTS, *SHORT]
    posted += [changed for event in (*EVENTS, *SHORT) for changed in vary(source, event)]
    with serve(store, fake_publisher) as world:
        told = api.read(world.send(posted, f"learner-{seed}"))
    refused = {each["index"]: each["reason"] for each in told["refused"]}
    for number, event in enumerate(posted):
        reason = refused.get(number)
        if reason is None:
            assert EVENT.is_valid(event), event
        elif EVENT.is_valid(event):
            assert any(words in reason for words in UNEXPRESSED), (reason, event)
            assert "an integer" not in reason or contract.is_float(event, reason), (reason, event)
            is_a_day = not re.search("02-30T|0000-", json.dumps(event))
            assert not (is_a_day and "an RFC 3339 time" in reason), (reason, event)
    assert len(EVENTS) < len(refused) < len(posted) - len(EVENTS)


@functools.cache
def cases() -> st.SearchStrategy[Any]:
    import schemathesis  # takes a second

    operation = schemathesis.openapi.from_dict(DOCUMENT)["/events"]["POST"]
    modes = schemathesis.GenerationMode
    return st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])


@pytest.mark.exhaustive
@given(data=st.data())
def test_no_drawn_body_finds_an_answer_that_is_not_described(
    send: Send, data: st.DataObject
) -> None:
    case = data.draw(cases())
    send("/events", case.media_type or "", case.body)
