"""A learner's day in an environment: published through Pub/Sub, folded, answered over GraphQL.

A failure says what to look at.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import gcloud
from exit_status import Failed, log
from smoke import Green

_TOPIC = "learning-events"
_INTERVAL_S = 5.0  # between two tries
_GCLOUD_TIMEOUT_S = 300.0
_ANSWERED_S = 600.0  # an event may wait for the first instances of three functions

_BEFORE = "{ userProgress { totalSessionsCompleted } }"
_AFTER = """{
  events(first: 5) { edges { node { eventId } } }
  userProgress { totalSessionsCompleted }
  streak { current }
  projectionStatus { name eventsBehind }
}"""

SignIn = Callable[[], str]  # returns a new token, because some expire in minutes


class NotYet(Exception):
    """What a step waits for has not happened; the message says what was found instead."""


def live(project: str, address: str, sign_in: SignIn) -> int:
    """Publish a day of the tokens' subject; return the streak that GraphQL then answers, in days.

    Raise Failed with what was found last if this takes too long.
    """
    learner = _read_subject(sign_in())
    before = wait(lambda: _count_sessions(ask(address, sign_in, _BEFORE)))
    events = _study(learner)
    message = ("pubsub", "topics", "publish", _TOPIC, f"--message={json.dumps(events)}")
    gcloud.run((*message, f"--project={project}", "--quiet"), _GCLOUD_TIMEOUT_S)
    log(f"a day of the learner {learner} is published: {len(events)} events")

    def find_streak() -> int:
        data = ask(address, sign_in, _AFTER)
        if _count_sessions(data) > before:
            return int(data["streak"]["current"])
        if events[-1]["event_id"] not in [
            edge["node"]["eventId"] for edge in data["events"]["edges"]
        ]:
            raise NotYet(
                "the published event was not recorded: look at the logs of progress-ingest, at the "
                f"undelivered messages of {_TOPIC}-ingest-sub, and at `progress dead-letters list`"
            )
        behind = {row["name"]: row["eventsBehind"] for row in data["projectionStatus"]}
        raise NotYet(
            "the published event was recorded, but not folded: look at the logs of "
            "progress-project and at the undelivered messages of progress-projection-sub; "
            f"events behind: {behind}"
        )

    streak = wait(find_streak)
    if streak < 1:
        raise Failed(f"GraphQL returned a streak of {streak} for a learner who studies today")
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


def wait(find: Callable[[], int]) -> int:
    """Call `find` until it does not raise NotYet, and return its result."""
    deadline = time.monotonic() + _ANSWERED_S
    while True:
        try:
            return find()
        except NotYet as error:
            if time.monotonic() > deadline:
                raise Failed(f"after {_ANSWERED_S:g} s, {error}") from None
        time.sleep(_INTERVAL_S)


def ask(address: str, sign_in: SignIn, query: str) -> dict[str, Any]:
    """Return the data of the response; raise NotYet if there is none or it has errors.

    Raise Failed if the token is rejected.
    """
    try:
        status, content = Green(address, token=sign_in()).request("/graphql", {"query": query})
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
