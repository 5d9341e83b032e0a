"""A learner's day in an environment: published through Pub/Sub, folded, answered over GraphQL.

Each step waits until it sees its result. A failure says what to look at.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import gcloud
from exit_status import Failed, log
from smoke import Green

_TOPIC = "learning-events"
_INTERVAL_S = 5.0  # between two tries
_GCLOUD_TIMEOUT_S = 300.0

# How long a step waits. An event may wait for the first instances of two functions.
_RECORDED_S = 300.0
_ANSWERED_S = 300.0

_BEFORE = "{ userProgress { totalSessionsCompleted } }"
_EVENTS = "{ events(first: 5) { edges { node { eventId } } } }"
_AFTER = """{
  userProgress { totalSessionsCompleted }
  streak { current }
  projectionStatus { name eventsBehind }
}"""

SignIn = Callable[[], str]  # returns a new token, because some expire in minutes
_T = TypeVar("_T")


class NotYet(Exception):
    """What a step waits for has not happened; the message says what was found instead."""


def live(project: str, address: str, sign_in: SignIn, *others: str) -> int:
    """Publish a learner's day; return the streak that GraphQL then answers, in days.

    The learner is the subject of the tokens. The same message has a day of each of the `others`.
    """
    learner = _read_subject(sign_in())
    before = wait(
        lambda: _count_sessions(ask(address, sign_in, _BEFORE)),
        _ANSWERED_S,
        "GraphQL does not answer: look at the logs of progress-query",
    )
    events = [event for user in (*others, learner) for event in _study(user)]
    message = ("pubsub", "topics", "publish", _TOPIC, f"--message={json.dumps(events)}")
    gcloud.run((*message, f"--project={project}", "--quiet"), _GCLOUD_TIMEOUT_S)
    log(f"a day of the learner {learner} is published: {len(events)} events")

    def check_recorded() -> None:
        edges = ask(address, sign_in, _EVENTS)["events"]["edges"]
        if events[-1]["event_id"] not in [edge["node"]["eventId"] for edge in edges]:
            raise NotYet("it is not among the learner's newest events")

    def find_streak() -> int:
        data = ask(address, sign_in, _AFTER)
        if _count_sessions(data) <= before:
            behind = {row["name"]: row["eventsBehind"] for row in data["projectionStatus"]}
            raise NotYet(f"GraphQL does not count the session; events behind: {behind}")
        return int(data["streak"]["current"])

    wait(
        check_recorded,
        _RECORDED_S,
        "the published event was not recorded: look at the logs of progress-ingest, at the "
        f"undelivered messages of {_TOPIC}-ingest-sub, and at `progress dead-letters list`",
    )
    log("the published events are recorded")
    streak = wait(
        find_streak,
        _ANSWERED_S,
        "the published event was recorded, but not folded and answered: look at the logs of "
        "progress-project and at the undelivered messages of progress-projection-sub; if no "
        "projection is behind, look at the logs of progress-query",
    )
    if streak < 1:
        raise Failed(f"GraphQL returned a streak of {streak} for a learner who studies today")
    log(f"the events are folded, and GraphQL returns a streak of {streak}")
    return streak


def _study(user: str) -> list[dict[str, Any]]:
    """Return the events of a session of now: three items, of which one is repeated."""
    session, now = str(uuid.uuid4()), datetime.now(UTC).isoformat()
    answers = [("Correct", "apple"), ("Incorrect", "cloud"), ("Correct", "river")]
    data: list[tuple[str, dict[str, object]]] = [
        ("SessionStarted", {"user_id": user, "item_count": 3}),
        *(
            (f"{kind}AnswerGiven", {"item_id": item, "response_time_ms": 2_500})
            for kind, item in (*answers, ("Correct", "cloud"))
        ),
        ("SessionCompleted", {"score": 75, "duration_seconds": 60}),
    ]
    return [
        {
            "event_id": str(uuid.uuid4()),
            "event_type": event_type,
            "occurred_at": now,
            "data": {"session_id": session, **fields},
        }
        for event_type, fields in data
    ]


def _count_sessions(data: dict[str, Any]) -> int:
    progress = data["userProgress"]  # null before the learner's first event
    return int(progress["totalSessionsCompleted"]) if progress else 0


def wait(find: Callable[[], _T], limit_s: float, failure: str) -> _T:
    """Call `find` until it does not raise NotYet, and return its result.

    Raise Failed with the text `failure` after the limit.
    """
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return find()
        except NotYet as error:
            if time.monotonic() > deadline:
                raise Failed(f"{failure}. Found after {limit_s:g} s: {error}") from None
        time.sleep(_INTERVAL_S)


def ask(address: str, sign_in: SignIn, query: str, **variables: str) -> dict[str, Any]:
    """Return the data of the response; raise NotYet if there is none or it has errors.

    Raise Failed if the token is rejected.
    """
    body = {"query": query, "variables": variables}
    try:
        status, content = Green(address, token=sign_in()).request("/graphql", body)
        response = json.loads(content)
    except (Failed, ValueError) as error:
        raise NotYet(str(error)) from None
    if status == 401:
        raise Failed(f"{address} rejected the token: {response['errors'][0]['message']}")
    if status != 200 or "errors" in response:
        raise NotYet(f"GraphQL responded with {status}, {content[:500]!r}")
    data: dict[str, Any] = response["data"]
    return data


def _read_subject(token: str) -> str:
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["sub"])
    except (LookupError, ValueError):
        raise Failed("expected a token with a subject: a JSON Web Token") from None
