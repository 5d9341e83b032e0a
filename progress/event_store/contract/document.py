"""docs/events.md: the event types with their fields, and the rules that the schemas lack."""

import json
import textwrap
from pathlib import Path

from progress.event_store import events
from progress.event_store.contract import rules, schemas
from progress.event_store.contract.examples import example
from progress.event_store.contract.fields import FIELDS

_TEMPLATE = Path(__file__).with_name("template.md")
_WIDTH = 120  # characters per line


def make() -> str:
    """Return the text of docs/events.md."""
    listed = "\n".join(_wrap(f"- {rule.text}") for rule in rules.unexpressed())
    template = _TEMPLATE.read_text(encoding="utf-8")
    return template.replace("{types}", _describe_types()).replace("{rules}", listed)


def _describe_types() -> str:
    parts = []
    for topic in dict.fromkeys(events.TOPICS[name] for name in events.CATALOGUE):
        parts.append(f"## Topic {topic}\n")
        names = [name for name in events.CATALOGUE if events.TOPICS[name] == topic]
        parts += [_describe_type(name, events.CATALOGUE[name]) for name in names]
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
