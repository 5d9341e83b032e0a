"""The OpenAPI document describes each answer to a post, of a learner and of a publisher."""

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from werkzeug.test import Client

from progress.event_store import bodies, events
from progress.event_store.contract import openapi
from tests.conftest import Store
from tests.support import api, pushes, token_issuer
from tests.support.api import Api
from tests.support.fake_publisher import FakePublisher

DOCUMENT = openapi.make()
POST = DOCUMENT["paths"]["/events"]["post"]
CONTENT = POST["requestBody"]["content"]
EXAMPLES = [
    (bodies.LINES, CONTENT[bodies.LINES]["example"]),
    *((bodies.JSON, each["value"]) for each in CONTENT[bodies.JSON]["examples"].values()),
]


class Posts:
    """Both functions that take posts; each answer must be one that the document describes."""

    def __init__(self, served: Api, ingest: Client) -> None:
        self._api, self._ingest = served, ingest

    def send(self, path: str, media_type: str, body: object, token: bool = True) -> list[Any]:
        """Return the status and the answer of the learner's post, and of the publisher's."""
        data = body if isinstance(body, bytes) else b""
        if not data:
            data = (body if isinstance(body, str) else json.dumps(body)).encode(errors="replace")
        method = "post" if path == "/events" else "get"
        head = {"Content-Type": media_type}
        learner, publisher = (
            {"Authorization": f"Bearer {token_issuer.token('u-1', roles=roles)}"} if token else {}
            for roles in (None, "publisher")
        )
        answer = self._api.request(method.upper(), path, data, head | learner)
        other = self._ingest.open(path, method=method, data=data, headers=head | publisher)
        return [
            check(path, method, answer.status_code, answer.headers, bytes(answer.body)),
            check(path, method, other.status_code, dict(other.headers), other.data),
        ]


def check(path: str, method: str, status: int, headers: Mapping[str, str], body: bytes) -> Any:
    described = DOCUMENT["paths"][path][method]["responses"][str(status)]
    for name, header in described.get("headers", {}).items():
        Draft202012Validator(header["schema"]).validate(headers[name])
    schema = described["content"][headers["Content-Type"].partition(";")[0]]["schema"]
    told = json.loads(body)
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(told)
    return status, told


@pytest.fixture
def posts(store: Store, fake_publisher: FakePublisher) -> Iterator[Posts]:
    options: Any = {"pubsub_emulator_host": fake_publisher.address, "learners_may_post": True}
    with api.serve(store.url, **options) as served, token_issuer.serve() as issuer:
        environment = issuer.environment(store.url)
        with pushes.load_ingest(store.url, fake_publisher, environment) as ingest:
            yield Posts(served, ingest)


def test_a_validator_of_others_accepts_the_document_and_it_is_served() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator  # takes a second

    OpenAPIV31SpecValidator(DOCUMENT).validate()
    with api.serve(api.NOWHERE) as served:
        answer = served.request("GET", "/openapi.json")
    assert (answer.headers["content-type"], api.read(answer)) == ("application/json", DOCUMENT)


def test_what_the_examples_say_is_taken_as_the_document_says(posts: Posts) -> None:
    for media_type, body in EXAMPLES:
        lines = str(body).splitlines() if media_type == bodies.LINES else []
        entries = [json.loads(line) for line in lines] or (
            body if isinstance(body, list) else [body]
        )
        of_learners = sum(
            entry["event_type"] in events.LEARNERS_POST and "display_name" not in entry["data"]
            for entry in entries
        )
        (taken, told), (recorded, counts) = posts.send("/events", media_type, body)
        assert (taken, told["accepted"], recorded) == (202, of_learners, 200)
        assert sum(counts[name] for name in ("appended", "redelivered", "pending")) == len(entries)
        assert posts.send("/events", media_type, body, token=False)[0][0] == 401
    assert posts.send("/events", "text/plain", "x")[0][0] == 415
    assert {status for status, _ in posts.send("/health", "", "")} == {200}


@functools.cache
def cases() -> st.SearchStrategy[Any]:
    import schemathesis  # takes a second

    operation = schemathesis.openapi.from_dict(DOCUMENT)["/events"]["POST"]
    modes = schemathesis.GenerationMode
    return st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])


@pytest.mark.exhaustive
@given(data=st.data())
def test_no_drawn_body_finds_an_answer_that_is_not_described(
    posts: Posts, data: st.DataObject
) -> None:
    case = data.draw(cases())
    token = data.draw(st.sampled_from((True, True, True, False)))
    posts.send("/events", case.media_type or "", case.body, token)
