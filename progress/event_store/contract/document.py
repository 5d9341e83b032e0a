"""docs/events.md: the event types with their fields, and the rules that the schemas lack."""

import json
import textwrap
from pathlib import Path
from typing import NamedTuple

import msgspec

from progress.event_store import events, outgoing, time_zones
from progress.event_store.contract import schemas
from progress.event_store.contract.fields import FIELDS, PUBLISHED, example

_TEMPLATE = Path(__file__).with_name("template.md")
_WIDTH = 120  # characters per line


class Rule(NamedTuple):
    """The text of a rule, and a phrase in the reason of a dead letter that breaks it."""

    text: str
    reason: str


def unexpressed_rules() -> tuple[Rule, ...]:
    """Return the rules that the JSON Schemas do not express; each is about one event's content."""
    return (
        Rule("An integer has no fraction and no exponent: `5.0` is rejected.", "an integer"),
        Rule("A time contains an existing date: February 30 is rejected.", "an RFC 3339 time"),
        Rule("`occurred_at` is not before 2000-01-01T00:00:00Z.", "from 2000-01-01 on"),
        Rule(
            f"`timezone` is a name of the time-zone database, release {time_zones.VERSION}.",
            "an IANA zone name",
        ),
        Rule(
            "The `list_id` of an event that names no learner does not begin with `own:`.",
            "begin with own:",
        ),
        Rule(
            f"That of a `ListPublished` or `ItemListed` does not begin with `{events.OF_TASKS}`, "
            "either: teachers make these lists with `setTask`.",
            f"a list without {events.OF_TASKS}",
        ),
        Rule("Arrays and objects are nested at most 64 levels deep.", "64 levels"),
        Rule("Strings do not contain U+0000.", "without U+0000"),
        Rule("Strings do not contain lone surrogates, such as `\\ud800`.", "lone surrogates"),
        Rule("Numbers are finite as doubles: `1e400` is rejected.", "a finite double"),
        Rule("One event has at most 1 MiB (1,048,576 bytes).", "1048576 bytes"),
    )


def make() -> str:
    listed = "\n".join(_wrap(f"- {rule.text}") for rule in unexpressed_rules())
    types = events.EVENT_TYPES.items()
    retractable = ", ".join(f"`{name}`" for name, kind in types if kind.can_be_retracted)
    template = _TEMPLATE.read_text(encoding="utf-8")
    parts = {
        "{types}": _describe_types(),
        "{retractable}": _wrap(f"Only events of these types can be retracted: {retractable}."),
        "{rules}": listed,
        "{published}": _describe_published(),
    }
    for name, text in parts.items():
        template = template.replace(name, text)
    return template


def _describe_types() -> str:
    parts = []
    for topic in dict.fromkeys(events.TOPICS[name] for name in events.EVENT_TYPES):
        parts.append(f"## Topic {topic}\n")
        names = [name for name in events.EVENT_TYPES if events.TOPICS[name] == topic]
        parts += [_describe_type(name, events.EVENT_TYPES[name]) for name in names]
    return "\n".join(parts)


def _describe_published() -> str:
    parts = []
    for kind, declared in outgoing.MESSAGES.items():
        names = [field.name for field in msgspec.structs.fields(declared)]
        rows = [f"| `{name}` | {PUBLISHED[name].description} |" for name in names]
        table = "\n".join(["| field | meaning |", "|---|---|", *rows])
        title = f"### {declared.__name__} (`kind` is `{kind}`)"
        parts.append(f"{title}\n\n{_wrap(schemas.describe(declared))}\n\n{table}\n")
    return "\n".join(parts)


def _describe_type(name: str, declared: type[events.Event]) -> str:
    fields, required = schemas.describe_data(declared)
    rows = [
        f"| `{field}` | {events.describe_rule(declared, field)} "
        f"| {'yes' if field in required else 'no'} | {FIELDS[field].description} |"
        for field in fields
    ]
    table = "\n".join(["| field | value | required | meaning |", "|---|---|---|---|", *rows])
    data = json.dumps(example(declared)["data"], ensure_ascii=False)
    example_line = _wrap(f"Example of `data`: `{data}`")
    return f"### {name}\n\n{_wrap(schemas.describe(declared))}\n\n{table}\n\n{example_line}\n"


def _wrap(text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        subsequent_indent="  " if text.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
