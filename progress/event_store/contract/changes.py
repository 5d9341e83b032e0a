"""What a change of the event contract breaks, compared with the schemas of a former version.

A publisher may send what the former schemas accept; a reader of published messages may rely on
what the former schemas promise. In a published message, a new member of an enum breaks nothing: as
in GraphQL, readers expect it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from progress.event_store.contract import asyncapi, schemas
from progress.event_store.contract.schemas import Schema

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_EXACT = ("const", "pattern", "format", "not", "uniqueItems")
_TEXTS = ("description", "title", "$schema")


class Contract(msgspec.Struct, frozen=True):
    """What a version promises, without texts for people: JSON Schemas by name, each event's topic.

    `api` is the GraphQL schema. Publishers send `events`; readers receive `published`.
    """

    events: dict[str, Schema]
    published: dict[str, Schema]
    topics: dict[str, str]
    api: str


def take(
    events: Mapping[str, Schema], published: Mapping[str, Schema], document: Schema, api: str
) -> Contract:
    """Return the contract; `document` is the AsyncAPI document, which has the topics."""
    topics = {
        name: channel["address"]
        for channel in document["channels"].values()
        for name in channel["messages"]
    }
    return Contract(_bare(events), _bare(published), topics, api)


def take_current(api: str) -> Contract:
    return take(schemas.make_all(), schemas.make_published(), asyncapi.make(), api)


def find_breaks(former: Contract, now: Contract) -> Iterator[str]:
    yield from _compare_names("", former.events, now.events)
    yield from _compare_names("", former.published, now.published)
    # `strict` lists the declared types, which are compared themselves.
    for name in (former.events.keys() & now.events.keys()) - {schemas.STRICT}:
        yield from find_narrowed(name, former.events[name], now.events[name])
    for name in former.published.keys() & now.published.keys():
        yield from _find_widened(name, former.published[name], now.published[name])
    for name, topic in former.topics.items():
        if now.topics.get(name, topic) != topic:
            yield f"{name}: moved from the topic {topic} to {now.topics[name]}"


def find_narrowed(place: str, old: Schema, new: Schema) -> Iterator[str]:
    if "anyOf" in new and "anyOf" not in old:  # it is enough that one choice accepts as much
        rest = {key: value for key, value in new.items() if key != "anyOf"}
        found = [[*find_narrowed(place, old, {**rest, **choice})] for choice in new["anyOf"]]
        yield from min(found, key=len)
        return
    properties = new.get("properties", {})
    yield from _compare_names(place, old.get("properties", {}), properties)
    for name in set(new.get("required", ())) - set(old.get("required", ())):
        if old:
            yield f"{place}.{name}: newly required"
    for name in old.get("properties", {}).keys() & properties.keys():
        yield from find_narrowed(f"{place}.{name}", old["properties"][name], properties[name])
    if "items" in old and "items" in new:
        yield from find_narrowed(f"{place}[]", old["items"], new["items"])
    if old:
        yield from (f"{place}: narrowed: {rule}" for rule in _narrower_rules(old, new))


def _find_widened(place: str, old: Schema, new: Schema) -> Iterator[str]:
    properties = new.get("properties", {})
    yield from _compare_names(place, old.get("properties", {}), properties)
    for name in set(old.get("required", ())) - set(new.get("required", ())):
        if name in properties:
            yield f"{place}.{name}: no longer in every message"
    for name in old.get("properties", {}).keys() & properties.keys():
        yield from _find_widened(f"{place}.{name}", old["properties"][name], properties[name])
    others = [{key: value for key, value in each.items() if key != "enum"} for each in (new, old)]
    yield from (f"{place}: widened: {rule} before" for rule in _narrower_rules(*others))


def _narrower_rules(old: Schema, new: Schema) -> Iterator[str]:
    types, allowed = _types(new), _types(old)
    if types and not (allowed and allowed <= types):
        yield f"only {', '.join(sorted(types))}"
    if "enum" in new and ("enum" not in old or any(m not in new["enum"] for m in old["enum"])):
        yield f"only {', '.join(map(str, new['enum']))}"
    for rule in (*_LOWER, *_UPPER):
        was, limit = old.get(rule), new.get(rule)
        if limit is None or limit == was:
            continue
        if was is None or (limit > was if rule in _LOWER else limit < was):
            yield f"{rule} {limit}"
    for rule in _EXACT:
        if rule in new and _bare(new[rule]) != _bare(old.get(rule)):
            yield f"{rule} {json.dumps(new[rule])}"
    # A rule with `if` is about one type: its own schema is compared.
    added = [each for each in new.get("allOf", ()) if "if" not in each]
    if any(_bare(each) not in map(_bare, old.get("allOf", ())) for each in added):
        yield "another rule in allOf"
    choices = [_bare(each) for each in new.get("anyOf", ())]
    if choices and not all(_bare(each) in choices for each in old.get("anyOf", [None])):
        yield "fewer choices in anyOf"


def _compare_names(place: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names that are gone; one with an equal new schema is renamed."""
    for name in old.keys() - new.keys():
        same = [each for each in new.keys() - old.keys() if _bare(new[each]) == _bare(old[name])]
        where = f"{place}.{name}" if place else name
        yield f"{where}: renamed to {same[0]}" if len(same) == 1 else f"{where}: removed"


def _types(schema: Schema) -> set[str]:
    types = schema.get("type", [])
    names = {types} if isinstance(types, str) else set(types)
    return names | {"integer"} if "number" in names else names


def _bare(value: Any) -> Any:
    """Return the value without the texts for people."""
    if isinstance(value, list):
        return [_bare(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: _bare(each)
        for key, each in value.items()
        if not (key in _TEXTS and isinstance(each, str))
    }
