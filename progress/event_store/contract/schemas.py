"""JSON Schemas (draft 2020-12) of the events, derived from their declarations.

The schemas use only keywords with the same meaning in draft-07, because tools for AsyncAPI read
only that draft. The schemas describe events in messages without attributes. In a message with
attributes, the body may omit required fields that the attributes supply.
"""

import inspect
from typing import Any

import msgspec

from progress.event_store import events, outgoing, timestamps
from progress.event_store.contract.fields import FIELDS, PUBLISHED
from progress.event_store.entries import IDS, LATER_IDS, UUID

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# All other schemas have the names of event types.
ENVELOPE, STRICT, MESSAGE = "envelope", "strict", "message"

_LEARNER = "The learner, if `data` does not name one."
_LENGTHS: Schema = {"minLength": 1, "maxLength": 200}
_NULLABLE_ID: Schema = {"type": ["string", "null"], **_LENGTHS}
_TIME = f"^(?:{timestamps.PATTERN.replace(chr(92) + 'd', '[0-9]')})$"
# What replaces or adds to the rules of the declared types.
_TIMES = ("due",)
_ADDED: dict[str, Schema] = {"domains": {"uniqueItems": True}}


def make_all() -> dict[str, Schema]:
    """Return the schemas by name: the event types, `envelope`, `strict` and `message`."""
    schemas = {name: _describe_event(declared) for name, declared in events.EVENT_TYPES.items()}
    described = (_describe_envelope(), _describe_strict(), _describe_message())
    return schemas | dict(zip((ENVELOPE, STRICT, MESSAGE), described, strict=True))


def make_learners(prefix: str) -> dict[str, Schema]:
    """Return the schemas of a learner's post by name; `prefix` leads to them.

    An `Event` has one form for each type. Generators name nested objects and alternatives by
    numbers, so each object has a name, and only validators read `not` and `dependentSchemas`.
    """
    made = {"Metadata": _OWN_METADATA}
    for name, declared in events.EVENT_TYPES.items():
        if name in events.LEARNERS_POST:
            data = _describe_own_data(declared)
            made[name] = _describe_own_event(declared, prefix, needs_data=bool(data["required"]))
            made[f"{name}Data"] = data
    types = [{"$ref": prefix + name} for name in made if name in events.LEARNERS_POST]
    return {"Event": {"oneOf": types, "discriminator": {"propertyName": "event_type"}}, **made}


def make_published() -> dict[str, Schema]:
    """Return the schemas of the published messages by the names of their declarations."""
    declared = outgoing.MESSAGES.values()
    _, components = msgspec.json.schema_components(declared, ref_template="{name}")
    return {
        each.__name__: _describe_published(components[each.__name__], components)
        for each in declared
    }


def _describe_published(schema: Schema, components: dict[str, Schema]) -> Schema:
    for name, rule in schema["properties"].items():
        if inner := components.get(rule.pop("$ref", "")):
            rule |= {key: inner[key] for key in ("type", "properties", "required")}
        if name == "data":
            rule["not"] = {"anyOf": [{"required": [field]} for field in outgoing.LEFT_OUT]}
        schema["properties"][name] = {"description": PUBLISHED[name].description, **rule}
    return {"$schema": DIALECT, **schema}


def describe_data(declared: type[events.Event]) -> tuple[dict[str, Schema], list[str]]:
    """Return the schema of each declared field of `data`, and the names of the required fields."""
    _, components = msgspec.json.schema_components([declared], ref_template="{name}")
    schema = components[declared.__name__]
    fields = {}
    for name, rule in schema["properties"].items():
        rule.pop("default", None)
        described = {"description": FIELDS[name].description}
        own = _optional_time() if name in _TIMES else {**rule, **_ADDED.get(name, {})}
        fields[name] = {**described, **own}
    return fields, schema["required"]


def describe(declared: type[msgspec.Struct]) -> str:
    """Return the first paragraph of the declaration's docstring as one line."""
    text = inspect.cleandoc(declared.__doc__ or "").split("\n\n")[0]
    return " ".join(text.split())


def _describe_event(declared: type[events.Event]) -> Schema:
    name = declared.__name__
    fields, required = describe_data(declared)
    rules = [_has_type(name), _HAS_TIME]
    if issubclass(declared, events.LearnerEvent):
        required = [field for field in required if field != "user_id"]
        fields["user_id"] = {**fields["user_id"], "type": ["string", "null"]}
        rules.append(_HAS_LEARNER)
    if declared is events.CardReviewed:
        rules += [_HAS_LEARNER_OR_SESSION, _HAS_NEXT_REVIEW]
    is_named = name not in events.ASSIGNMENTS
    data = _object({**_ids(is_named=is_named), **fields})
    if required:
        data |= {"type": "object", "required": required}
    return {
        "$schema": DIALECT,
        "title": name,
        "description": describe(declared),
        "type": "object",
        "required": ["event_id", *(["data"] if required else [])],
        "properties": _properties({"enum": [name, None]}, data, is_named=is_named),
        "allOf": rules,
    }


def _describe_own_event(declared: type[events.Event], prefix: str, *, needs_data: bool) -> Schema:
    name = declared.__name__
    required = ["event_id", "event_type", "occurred_at"]
    data: Schema = {"$ref": f"{prefix}{name}Data"}
    return {
        "description": describe(declared),
        "type": "object",
        "required": [*required, "data"] if needs_data else required,
        "properties": {
            "event_id": {
                "description": "Identifies the event; a repeated id is a redelivery.",
                "type": "string",
                "format": "uuid",
                "pattern": f"^(?:{UUID.pattern})$",
            },
            "event_type": {"type": "string", "const": name},
            "occurred_at": {
                "description": "When it happened: an RFC 3339 time with an offset.",
                **_OWN_TIME,
                "type": "string",
            },
            "data": data if needs_data else _or_null(data),
            "metadata": _or_null({"$ref": f"{prefix}Metadata"}),
        },
    }


def _describe_own_data(declared: type[events.Event]) -> Schema:
    fields, required = describe_data(declared)
    withheld = events.READ_BY_TEACHERS.get(declared.__name__, "")
    fields.pop(withheld, None)
    if "user_id" in fields:
        fields["user_id"] = _OWN_USER_ID
    fields |= {name: fields[name] | _OWN_TIME for name in _TIMES if name in fields}
    others = [name for name in (*IDS, *LATER_IDS) if name not in fields]
    schema: Schema = {
        "type": "object",
        "required": [name for name in required if name != "user_id"],
        "properties": fields,
        "dependentSchemas": {name: {"properties": {name: _NULLABLE_ID}} for name in others},
    }
    if withheld:
        schema["not"] = {"required": [withheld]}
    if declared is events.CardReviewed:
        schema["not"] = _HAS_NO_NEXT_REVIEW
    return schema


def _describe_envelope() -> Schema:
    types = [
        {"if": _has_type(name), "then": {"$ref": f"{name}.json"}} for name in events.EVENT_TYPES
    ]
    any_type = {"type": ["string", "null"], **_LENGTHS}
    return {
        "$schema": DIALECT,
        "title": "Event",
        "description": "An event of any type; unknown types are recorded, too.",
        "type": "object",
        "required": ["event_id"],
        "properties": _properties(any_type, _object(_ids(is_named=False)), is_named=False),
        "allOf": [_is_type({"type": "string", **_LENGTHS}), _HAS_TIME, _NAMES_LEARNER, *types],
    }


def _describe_strict() -> Schema:
    return {
        "$schema": DIALECT,
        "title": "DeclaredEvent",
        "description": "An event of a declared type, for the tests of a publisher.",
        "allOf": [_is_type({"enum": [*events.EVENT_TYPES]}), {"$ref": f"{ENVELOPE}.json"}],
    }


def _describe_message() -> Schema:
    one = {"$ref": f"{ENVELOPE}.json"}
    return {
        "$schema": DIALECT,
        "title": "Message",
        "description": "The data of one Pub/Sub message: an event or an array of events.",
        "anyOf": [one, {"type": "array", "items": one}],
    }


def _properties(event_type: Schema, data: Schema, *, is_named: bool) -> dict[str, Schema]:
    known = {
        "user_id": _learner(_LEARNER, is_named=is_named),
        "correlation_id": {"description": "Identifies the request that caused the event."},
        "causation_id": {"description": "Identifies the event that caused this event."},
        "timestamp": {"description": "The time, if `occurred_at` is omitted."},
    }
    return {
        "event_id": {
            "description": "Identifies the event; a repeated id is a redelivery. Use a UUID.",
            "type": "string",
            **_LENGTHS,
        },
        "event_type": {"description": "If omitted, `data.type` is the type.", **event_type},
        "occurred_at": {
            "description": "When the event happened: an RFC 3339 time with an offset.",
            **_optional_time(),
        },
        "data": data,
        "metadata": {"description": "Other keys are kept.", **_object(known)},
    }


def _ids(*, is_named: bool) -> dict[str, Schema]:
    found = {name: _id(FIELDS[name].description) for name in (*IDS, *LATER_IDS)}
    return found | {"user_id": _learner(FIELDS["user_id"].description, is_named=is_named)}


def _learner(description: str, *, is_named: bool) -> Schema:
    """Return the rule of who an event names; whom an assignment names is dropped unchecked."""
    return _id(description) if is_named else {"description": description}


def _id(description: str) -> Schema:
    return {"description": description, **_NULLABLE_ID}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": ["object", "null"], "properties": properties}


def _optional_time() -> Schema:
    return {"type": ["string", "null"], "pattern": _TIME}


def _with(field: str, **rules: Schema) -> Schema:
    """Return a schema: `field` is required and is an object that has every field in `rules`."""
    inner = {"type": "object", "required": [*rules], "properties": rules}
    return {"required": [field], "properties": {field: inner}}


def _has_type(name: str) -> Schema:
    return _is_type({"const": name})


def _is_type(rule: Schema) -> Schema:
    tagged = _with("data", type=rule)
    tagged["properties"]["event_type"] = {"type": "null"}
    return {"anyOf": [{"required": ["event_type"], "properties": {"event_type": rule}}, tagged]}


_STRING: Schema = {"type": "string"}
_HAS_TIME: Schema = {
    "anyOf": [
        {"required": ["occurred_at"], "properties": {"occurred_at": _STRING}},
        {"properties": {"metadata": {"properties": {"timestamp": _optional_time()}}}},
    ]
}
_NAMES_LEARNER: Schema = {
    "if": _is_type({"enum": [*events.ASSIGNMENTS]}),
    "else": {
        "properties": {
            "data": _object({"user_id": _id(FIELDS["user_id"].description)}),
            "metadata": _object({"user_id": _id(_LEARNER)}),
        }
    },
}
_HAS_LEARNER: Schema = {
    "anyOf": [_with("data", user_id=_STRING), _with("metadata", user_id=_STRING)]
}
_HAS_LEARNER_OR_SESSION: Schema = {
    "anyOf": [*_HAS_LEARNER["anyOf"], _with("data", session_id=_STRING)]
}
_HAS_NEXT_REVIEW: Schema = {
    "anyOf": [_with("data", due=_STRING), _with("data", interval_days={"type": "number"})]
}
_HAS_NO_NEXT_REVIEW: Schema = {
    "properties": {"due": {"type": "null"}, "interval_days": {"type": "null"}}
}
_OWN_TIME: Schema = {**_optional_time(), "format": "date-time"}
_OWN_USER_ID = _id("The learner of the token; may be omitted.")
_OWN_METADATA: Schema = {
    "description": "Other keys are dropped.",
    "type": "object",
    "properties": {
        "user_id": _OWN_USER_ID,
        "correlation_id": {},
        "causation_id": {},
    },
}
