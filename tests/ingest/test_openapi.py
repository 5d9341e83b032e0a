"""The OpenAPI document describes each answer to a post, of a learner and of a publisher."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from progress.event_store import bodies, events
from progress.event_store.contract import openapi
from tests.conftest import Store
from tests.support import api, pushes, token_issuer
from tests.support.fake_publisher import FakePublisher

DOCUMENT = openapi.make()
POST = DOCUMENT["paths"]["/events"]["post"]
CONTENT = POST["requestBody"]["content"]
EXAMPLES = [(bodies.JSON, each["value"]) for each in CONTENT[bodies.JSON]["examples"].values()]
EXAMPLES.append((bodies.LINES, CONTENT[bodies.LINES]["example"]))
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
        parts = bodies.split(text.encode(), media_type)
        entries = [json.loads(part) for _, part in parts]
        of_learners = sum(
            entry["event_type"] in events.LEARNERS_POST and "display_name" not in entry["data"]
            for entry in entries
        )
        (taken, told), (recorded, counts) = send("/events", media_type, body)
        assert (taken, told["accepted"], recorded) == (202, of_learners, 200)
        assert sum(counts[name] for name in ("appended", "redelivered", "pending")) == len(entries)
        assert send("/events", media_type, body, token=False)[0][0] == 401
    assert send("/events", "text/plain", "x")[0][0] == 415
    assert {status for status, _ in send("/health", "", "")} == {200}


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
