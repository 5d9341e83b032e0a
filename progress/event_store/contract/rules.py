"""The rules of ingest that JSON Schema cannot express, for docs/events.md and the tests."""

from typing import NamedTuple


class Rule(NamedTuple):
    """A rule: its text in docs/events.md, and a phrase for the tests.

    If an event breaks the rule, the reason of its dead letter contains the phrase.
    """

    text: str
    reason: str


def unexpressed() -> tuple[Rule, ...]:
    """Return the rules that the JSON Schemas do not express; each is about one event's content."""
    from progress.event_store import time_zones

    return (
        Rule("An integer has no fraction and no exponent: `5.0` is rejected.", "an integer"),
        Rule("A time contains an existing date: February 30 is rejected.", "an RFC 3339 time"),
        Rule("`occurred_at` is not before 2000-01-01T00:00:00Z.", "from 2000-01-01 on"),
        Rule(
            f"`timezone` is a name of the time-zone database, release {time_zones.VERSION}.",
            "an IANA zone name",
        ),
        Rule("Arrays and objects are nested at most 64 levels deep.", "64 levels"),
        Rule("Strings do not contain U+0000.", "without U+0000"),
        Rule("Strings do not contain lone surrogates, such as `\\ud800`.", "lone surrogates"),
        Rule("Numbers are finite as doubles: `1e400` is rejected.", "a finite double"),
        Rule("One event has at most 1 MiB (1,048,576 bytes).", "1048576 bytes"),
    )
