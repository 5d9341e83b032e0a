"""The forms in which an event arrives: the envelope, a flat object or a CloudEvent."""

from collections.abc import Mapping
from typing import Any

# The forms of an event. Each maps places in an envelope to the places in an object of this form.
ENVELOPE: dict[str, str] = {}
RECORDED = {"$.data": "$.event_data"}
FLAT = {"$.data": "$", "$.event_type": "$.type"}
CLOUD_EVENT = {
    "$.event_id": "$.id",
    "$.event_type": "$.type",
    "$.occurred_at": "$.time",
    "$.metadata.user_id": "$.userid",
}
# The fields of a flat object that are not its data.
_NOT_DATA = frozenset(
    {"type", "event_id", "event_type", "occurred_at", "data", "event_data", "metadata"}
)


def to_envelope(body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the fields of the object as an envelope has them, and the object's form.

    The form maps places in an envelope to those in the object, where they differ.
    """
    if body.get("specversion") is not None:
        user = body.get("userid")
        return {
            "event_id": body.get("id"),
            "event_type": body.get("type"),
            "occurred_at": body.get("time"),
            "data": body.get("data"),
            "data_base64": body.get("data_base64"),
            "metadata": None if user is None else {"user_id": user},
        }, CLOUD_EVENT
    if body.get("data") is not None:
        return body, ENVELOPE
    if body.get("event_data") is not None:
        return {**body, "data": body["event_data"]}, RECORDED
    if body.get("event_type") is None and type(body.get("type")) is str:
        data = {name: value for name, value in body.items() if name not in _NOT_DATA}
        return {**body, "event_type": body["type"], "data": data}, FLAT
    return body, ENVELOPE


def find_type(body: dict[str, Any], attributes: Mapping[str, str]) -> Any:
    """Return the type of an event with the fields of an envelope; None if it has none."""
    event_type, data = body.get("event_type"), body.get("data")
    if event_type is None and type(data) is dict:
        event_type = data.get("type")
    return attributes.get("event_type") if event_type is None else event_type


def locate(reason: str, form: dict[str, str]) -> str:
    """Return a reason about an envelope with the place of the field in the object's own form."""
    text, at, place = reason.rpartition(" - at ")
    for name, own in form.items():
        if place == name or place.startswith(f"{name}."):
            return f"{text}{at}{own}{place.removeprefix(name)}"
    return reason
