"""Worlds of learners whose ids occur in each other's data, and an oracle for their erasure.

The oracle decides whose a message is from the specification alone. It shares no code with the
append and the erasure.
"""

import hashlib
import json
import random
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from tests.support import sample_events

# Ids that are prefixes, words, keys and values of each other's data.
NAMES = [
    *("7", "77", "learner-7", "learner-", "en", "de", "user_id", "item_id", "data", "true", "null"),
    *("ann", "lee", "ann lee", "ann,lee", " ann", "ann\tlee", "tenant:ann", "a%", "a_", "%", "_"),
    *("o'x", 'o"x', "o\\x", "{}", "[7]", "\u00fc", "u\u0308", "\\u00fc", "\U0001f600", "*", "a|b"),
    *("x" * 200, "x" * 199, "GoalSet", "Erased", "erased-1", "archive", "7:7", "a=b;c", "`", "i0"),
]
_SEPARATORS = re.compile(r"""[\s"'`()\[\]{}<>,:;=]+""")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_OLD = {"occurred_at": "1999-01-01T00:00:00Z"}


class Message(NamedTuple):
    """The data of a message, and its attributes."""

    data: bytes
    attributes: dict[str, str]
    message_id: str


class World:
    """Messages about learners with related ids; `earlier` arrive before any erasure."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self.names = rng.sample(NAMES, 10)
        self.names[0] = rng.choice([self.names[0], "7", "archive", "system:command line"])
        self.names = list(dict.fromkeys(self.names))
        self.learners = self.names[:5]
        self.erased = self.learners[: rng.randint(1, 3)]
        self.sessions: dict[str, str] = {}
        self._free_sessions = rng.sample(self.names, len(self.names))
        self.earlier = self._messages()
        self.later = self._messages()

    def owner(self, message: Message) -> str | None:
        """Return the learner to whom an event or an array of events belongs, or None."""
        body = parse(message.data)
        if isinstance(body, list):
            body = body[0]
        if not isinstance(body, dict) or body.get("event_type") == "ItemPublished":
            return None
        data, metadata = (
            part if isinstance(part := body.get(name), dict) else {}
            for name in ("data", "metadata")
        )
        for learner in (
            *(fields.get("user_id") for fields in (data, metadata)),
            message.attributes.get("user_id"),
            self.sessions.get(data.get("session_id", "")),
        ):
            if learner is not None:
                return str(learner)
        return None

    def is_emptied(self, message: Message) -> bool:
        """Return whether a text that is not a JSON object contains an erased id as a token."""
        if isinstance(parse(message.data), dict):
            return False
        text = message.data.decode()
        texts = [text]
        while (decoded := decode(texts[-1])) != texts[-1]:
            texts.append(decoded)
        return any(_contains(split(t), split(name)) for t in texts for name in self.erased)

    def _messages(self) -> list[Message]:
        kinds: list[Callable[[str], list[Message]]] = [
            self._lesson, self._choices, self._mention, self._rejected, self._text, self._waiting,
            self._text, self._rejected,
        ]  # fmt: skip
        messages = [self._item(name) for name in self._random.sample(self.names, 3)]
        for learner in self.learners:
            for kind in self._random.sample(kinds, 5):
                messages += kind(learner)
        return messages

    def _name(self) -> str:
        return self._random.choice(self.names)

    def _message(self, body: object, **attributes: str) -> Message:
        return self._raw(json.dumps(body, ensure_ascii=self._random.random() < 0.5), **attributes)

    def _raw(self, text: str, **attributes: str) -> Message:
        return Message(text.encode(), attributes, f"m-{self._random.getrandbits(64)}")

    def _event(self, kind: str, data: dict[str, Any], **fields: Any) -> dict[str, Any]:
        at = sample_events.BEGIN + timedelta(minutes=self._random.randrange(60 * 24 * 30))
        return {
            "event_id": str(uuid.UUID(int=self._random.getrandbits(128))),
            "event_type": kind,
            "occurred_at": at.isoformat(),
            "data": data,
            **fields,
        }

    def _item(self, name: str) -> Message:
        data = {"item_id": name, "domains": ["R"], "cefr_level": "A1", "headword": self._name()}
        return self._message(self._event("ItemPublished", data | {"language": "en"}))

    def _lesson(self, learner: str) -> list[Message]:
        """A session whose id is perhaps the id of another learner."""
        session = f"s {learner[:9]} {self._random.getrandbits(32)}"
        if self._free_sessions and self._random.random() < 0.7:
            session = self._free_sessions.pop()
        self.sessions[session] = learner
        start = {"user_id": learner, "session_id": session, "item_count": 2}
        answers: list[dict[str, Any]] = [
            {
                "session_id": session,
                "item_id": self._name(),
                "response_time_ms": 5,
                "n": self._name(),
            }
            for _ in range(2)
        ]
        end = {"session_id": session, "score": 80, "duration_seconds": 61}
        late = self._event("CorrectAnswerGiven", answers[1]) | _OLD
        return [
            self._message(self._event("SessionStarted", start)),
            self._message([self._event("CorrectAnswerGiven", answer) for answer in answers]),
            self._message(self._event("SessionCompleted", end)),
            self._message(late),
        ]

    def _choices(self, learner: str) -> list[Message]:
        name, zone = self._name(), {"timezone": "Asia/Tokyo", "email": "a@example.org"}
        review = {"item_id": name, "new_interval": 7, "easiness_factor": 2.5}
        return [
            self._message(self._event("UserCreated", {"user_id": learner} | zone)),
            self._message(
                self._event("LearnerJoinedGroup", {"user_id": learner, "group_id": name})
            ),
            self._message(self._event("GoalSet", {"answers_per_day": 2}), user_id=learner),
            self._message(
                self._event("ReviewProcessed", review, metadata={"user_id": learner, "by": name})
            ),
        ]

    def _mention(self, learner: str) -> list[Message]:
        data = {"user_id": learner, "friend": self._name(), self._name(): [self._name()]}
        return [self._message(self._event("Unheard", data))]

    def _rejected(self, learner: str) -> list[Message]:
        """JSON objects that become dead letters; their fields contain other ids."""
        other, session = self._name(), self._random.choice([*self.sessions, "unknown"])
        fields = {other: other, "item_id": other, "note": f"{other} \x00"}
        return [
            self._message(self._event("GoalSet", {"user_id": learner, "answers_per_day": other})),
            self._message({"data": {"user_id": learner, **fields}, "metadata": {"user_id": other}}),
            self._message({"metadata": {"user_id": learner, "by": other}, "user_id": other}),
            self._message(self._event("GoalSet", {"answers_per_day": other}), user_id=learner),
            self._message({"data": {"session_id": session}, "event_type": other}),
        ]

    def _text(self, learner: str) -> list[Message]:
        """Texts that are not JSON objects."""
        other = self._name()
        texts = [
            f"{{'event_type': 'GoalSet', 'data': {{'user_id': '{learner}'}}}}",
            json.dumps({"data": {"user_id": learner, "note": other}})[:-1],
            f"for {learner}-{other} and x{other}",
            json.dumps([other])[:-1],
            "".join(f"\\u{ord(c):04x}" for c in learner if ord(c) < 65536),
        ]
        return [self._raw(text) for text in self._random.sample(texts, 3)]

    def _waiting(self, learner: str) -> list[Message]:
        """An event of a session that never starts."""
        data = {"session_id": f"never {self._name()}", "item_id": learner, "response_time_ms": 5}
        return [self._message(self._event("CorrectAnswerGiven", data))]


def parse(data: bytes) -> object:
    """Return the JSON value, or None if the data is not JSON."""
    try:
        return json.loads(data)
    except ValueError:
        return None


def split(text: str) -> list[str]:
    """Return the tokens of a text."""
    return [token for token in _SEPARATORS.split(text) if token]


def decode(text: str) -> str:
    """Decode the escapes of JSON strings once."""

    def character(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else _SIMPLE.get(match[2], match[2])

    joined = _ESCAPE.sub(character, text).encode("utf-16", "surrogatepass")
    return joined.decode("utf-16", "replace").replace("\ufffd", " ").replace("\0", " ")


def _contains(tokens: list[str], wanted: list[str]) -> bool:
    starts = range(len(tokens) - len(wanted) + 1)
    return bool(wanted) and any(tokens[n : n + len(wanted)] == wanted for n in starts)


def emptied(payload: str) -> dict[str, object]:
    """Return the columns of a dead letter whose payload was emptied."""
    data = payload.encode()
    return {
        "payload": "",
        "emptied_bytes": len(data),
        "emptied_sha256": hashlib.sha256(data).hexdigest(),
    }
