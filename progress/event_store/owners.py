"""Whose an entry of a dead letter is, which its fields decide when the letter is written.

An owner is `learner:` or `session:` and the id, or NOBODY or UNKNOWN. The append stores digests in
place of the ids (sql/event_store/functions/erased_letters.sql), and an erasure compares them.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from progress.event_store import events, forms, json_input

NOBODY, UNKNOWN = "nobody", "unknown"

_LARGE = 1_048_576  # bytes; a larger entry is never decoded as a whole
_OTHER = ()  # stands for a value that is not read
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_NOWHERE = "\ufdd0"  # a character that no id has
_FIELDS = (
    *("data", "event_data", "metadata", "specversion", "data_base64", "userid"),
    *("type", "event_type", "user_id", "session_id"),
)
_MAY_NAME = re.compile(rb'"user_?id"|\\u00[567]')
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_outline = msgspec.json.Decoder(
    msgspec.defstruct("Outline", [(name, msgspec.Raw, msgspec.Raw(b"null")) for name in _FIELDS])
)


def of(entry: dict[str, Any], attributes: Mapping[str, str]) -> str:
    """Return the owner of an entry: its learner, or else its session.

    The learner is the first id among the `user_id` of its data, of its metadata and of the
    message's attributes. An entry without data may have both ids beside its type. It is UNKNOWN
    if a field that may hold an id has another type, or if it holds no id and no other one does. An
    assignment of a list has no owner, whomever it names.
    """
    body, form = forms.to_envelope(entry)
    data, metadata = body.get("data"), body.get("metadata")
    own = entry if data is None else data
    if form is forms.CLOUD_EVENT and body["data_base64"] is not None:
        return UNKNOWN
    parts = (own, metadata, entry.get("data"), entry.get("event_data"), entry.get("metadata"))
    if forms.find_type(body, attributes) in events.ASSIGNMENTS:
        return NOBODY if all(part is None or type(part) is dict for part in parts) else UNKNOWN
    for part in parts:
        if part is not None and not _has_texts(part):
            return UNKNOWN
    learner = None if metadata is None else metadata.get("user_id")
    ids = (own.get("user_id"), learner, attributes.get("user_id"))
    if data is None:
        ids = (*ids[1:], ids[0])
    for value in ids:
        if value and len(value) <= 200:
            return f"learner:{_UNSTORABLE.sub(_NOWHERE, value)}"
    session = own.get("session_id")
    if session and len(session) <= 200:
        return f"session:{_UNSTORABLE.sub(_NOWHERE, session)}"
    return NOBODY if ids == (None, None, None) and session is None else UNKNOWN


def find(part: bytes, attributes: Mapping[str, str]) -> str:
    """Return the owner of an entry that is JSON or not; UNKNOWN if it is no JSON object."""
    if part[:1] != b"{" and not part[:1].isspace():
        return UNKNOWN
    try:
        entry = _read_outline(part) if len(part) > _LARGE else json_input.decode(part)[0]
    except (json_input.NotJson, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return UNKNOWN
    return of(entry, attributes) if type(entry) is dict else UNKNOWN


def forget_learner(part: bytes, owner: str) -> tuple[bytes, str]:
    """Return the entry and its owner; an assignment of a list, which is NOBODY's, names no learner.

    An entry from which the name cannot be taken is UNKNOWN.
    """
    # A key may be escaped, or stand there twice.
    if owner != NOBODY or not _MAY_NAME.search(part):
        return part, owner
    try:
        fields = _fields.decode(part)
        fields.pop("user_id", None)
        if "specversion" in fields:
            fields.pop("userid", None)
        for name in ("data", "event_data", "metadata"):
            if bytes(fields.get(name, b""))[:1] == b"{":
                inner = _fields.decode(fields[name])
                inner.pop("user_id", None)
                fields[name] = msgspec.Raw(msgspec.json.encode(inner))
    except (msgspec.MsgspecError, RecursionError):
        return part, UNKNOWN
    return msgspec.json.encode(fields), owner


def _has_texts(part: Any) -> bool:
    """Return whether the part is an object whose ids, if it has any, are texts."""
    if type(part) is not dict:
        return False
    learner, session = part.get("user_id"), part.get("session_id")
    return (learner is None or type(learner) is str) and (session is None or type(session) is str)


def _read_outline(text: bytes, levels: int = 2) -> Any:
    """Decode the fields of a large object that name its owner; all of them take much memory."""
    match text.lstrip()[:1]:
        case b"{" if levels:
            outline = _outline.decode(text)
            raw = {name: bytes(getattr(outline, name)) for name in _FIELDS}
            return {name: _read_outline(value, levels - 1) for name, value in raw.items()}
        case b"{" | b"[":
            return _OTHER
    return msgspec.json.decode(text)
