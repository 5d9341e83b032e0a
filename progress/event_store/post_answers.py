"""What a `POST /events` and a `GET /health` answer, as the OpenAPI document describes it."""

from typing import Literal

import msgspec


class Refused(msgspec.Struct, frozen=True):
    """An entry that is not recorded: its place in the body, why, and its id as sent."""

    index: int
    reason: str
    event_id: str | None


class Taken(msgspec.Struct, frozen=True):
    """What became of a learner's post: the accepted and the refused entries are all entries."""

    accepted: int
    refused: list[Refused]


class Letter(msgspec.Struct, frozen=True):
    """An entry that is a dead letter, such as one of the kind `invalid` or `conflict`."""

    index: int
    kind: str
    reason: str | None
    event_id: str | None


class Recorded(msgspec.Struct, frozen=True):
    """What became of a publisher's post. Each entry counts once; `unknown_types` are appended."""

    appended: int
    redelivered: int
    pending: int
    erased: int
    unknown_types: int
    dead_letters: list[Letter]


class Refusal(msgspec.Struct, frozen=True):
    """Why nothing of the post is taken."""

    error: str


class Health(msgspec.Struct, frozen=True):
    """The server's time, in UTC."""

    status: Literal["ok"]
    now: str
