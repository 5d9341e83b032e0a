"""The OpenAPI 3.1 document: `POST /events`, with the body of learners, and `GET /health`."""

import json
from typing import Any

import msgspec

from progress import __version__
from progress.event_store import bodies, events, learner_post_check, post_answers
from progress.event_store.contract import schemas
from progress.event_store.contract.fields import example

_ABOUT = (
    "The body is that of a learner's device: the post is about the `sub` of the token, and has at "
    f"most {learner_post_check.MOST_BYTES} bytes. A post of a `publisher`, to the same address or "
    f"to that of ingest, may be about anybody, and has at most {bodies.MOST_BYTES} bytes and the "
    "types and forms of the schemas in schemas/events. To repeat a post, send the same body: each "
    "`event_id` counts once."
)
_LATER = "The events may not be recorded. Post the same body again later."
_REFUSALS = {
    "400": "The body, or a line of it, is not JSON in UTF-8. Nothing is stored: correct it.",
    "401": "There is no valid token. Get a new one, and post the same body again.",
    "403": "The token may not post, or the system takes no posts of learners.",
    "405": "Expected another method.",
    "408": "The body did not arrive in time. Nothing is stored: post it again.",
    "413": f"More bytes, or more than {bodies.MOST_ENTRIES} events. Nothing is stored: split it.",
    "414": "The line of the request is too long.",
    "415": "Another type, charset or encoding of the body.",
    "417": "The header Expect has something else than 100-continue.",
    "429": "Too much at once, in a minute or in a day. Post the same body again later.",
    "431": "The head of the request is too long.",
    "501": "A Transfer-Encoding other than chunked.",
    **dict.fromkeys(("500", "503"), _LATER),
}
_OTHER = "No answer of Progress, but of something in between. It takes nothing: post again later."
_HEADERS = {"401": "WWW-Authenticate", "405": "Allow", "429": "Retry-After", "503": "Retry-After"}
_LIMIT = {"type": "string", "enum": ["posts", "entries", "lists"]}
_COMPONENTS = "#/components/schemas/"


def make() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": "Posts to Progress", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/", "description": "The address of the page, or that of ingest."}],
        "paths": {
            "/events": {"post": _describe_post()},
            "/health": {"get": _describe_health()},
        },
        "components": {
            "schemas": _make_schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _describe_post() -> dict[str, Any]:
    examples = [_example(name) for name in events.EVENT_TYPES if name in events.LEARNERS_POST]
    lines = "\n".join(json.dumps(each, ensure_ascii=False) for each in examples[:2])
    one = {"$ref": _COMPONENTS + "Event"}
    many = {"type": "array", "maxItems": bodies.MOST_ENTRIES, "items": one}
    values = {"several": {"value": examples[:2]}}
    values |= {each["event_type"]: {"value": each} for each in examples}
    return {
        "operationId": "postEvents",
        "summary": "Post events: one, an array, or one in a line.",
        "security": [{"token": []}],
        "requestBody": {
            "required": True,
            "content": {
                bodies.JSON: {"schema": {"anyOf": [many, one]}, "examples": values},
                bodies.LINES: {"schema": {"type": "string"}, "example": lines},
            },
        },
        "responses": {
            "200": _answer(post_answers.Recorded),
            "202": _answer(post_answers.Taken),
            **{status: _refuse(status) for status in _REFUSALS},
            "default": {"description": _OTHER},
        },
    }


def _example(name: str) -> dict[str, Any]:
    """Return a learner's event: the token names the learner."""
    event = example(events.EVENT_TYPES[name])
    for field in ("user_id", events.READ_BY_TEACHERS.get(name)):
        event["data"].pop(field, None)
    return event


def _describe_health() -> dict[str, Any]:
    answers = {"200": _answer(post_answers.Health), "405": _refuse("405")}
    return {"operationId": "getHealth", "summary": "Read the time.", "responses": answers}


def _answer(declared: type[msgspec.Struct], description: str = "") -> dict[str, Any]:
    content = {bodies.JSON: {"schema": {"$ref": _COMPONENTS + declared.__name__}}}
    return {"description": description or schemas.describe(declared), "content": content}


def _refuse(status: str) -> dict[str, Any]:
    rules: dict[str, Any] = {"Progress-Error": {"const": "1"}}
    if status in _HEADERS:
        rules[_HEADERS[status]] = {"type": "string"}
    headers: dict[str, Any]
    headers = {name: {"required": True, "schema": rule} for name, rule in rules.items()}
    if status == "429":
        about = "The allowance that is used up: of posts a minute, or of entries or lists a day."
        headers["Progress-Limit"] = {"description": about, "schema": _LIMIT}
    return {**_answer(post_answers.Refusal, _REFUSALS[status]), "headers": headers}


def _make_schemas() -> dict[str, Any]:
    answers = (post_answers.Recorded, post_answers.Taken, post_answers.Refusal, post_answers.Health)
    _, declared = msgspec.json.schema_components(answers, ref_template=_COMPONENTS + "{name}")
    return {**schemas.make_learners(_COMPONENTS), **declared}
