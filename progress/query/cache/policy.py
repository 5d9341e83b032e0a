"""What is kept of answers, where and for how long."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from progress.adapters.postgres import statements
from progress.projections import schema

_SUMMARY = timedelta(minutes=10)
_FINISHED = timedelta(hours=24)
# A day is over everywhere: 12 hours behind UTC, where a day may begin 23 hours after midnight.
_OVER_EVERYWHERE = timedelta(hours=36)
_LARGEST = 512 * 1024  # bytes of an answer: a larger one may take longer than the cache may

# KEYS: a hash. ARGV: a field, its value, the life of the hash in ms, from its first field on.
_HOLD = """
local key = KEYS[1]
if redis.call('HLEN', key) >= 100 and redis.call('HEXISTS', key, ARGV[1]) == 0 then
    redis.call('DEL', key)
end
redis.call('HSET', key, ARGV[1], ARGV[2])
if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[3]) end
"""


class Rule(NamedTuple):
    """What a root field's answer depends on beside the learner, and how long it is kept."""

    minutes: int
    batch: bool = False
    catalogue: bool = False
    clock: bool = False  # on what today is, for the learner
    period: str | None = None  # what its rows are about: kept longer when they have ended
    longest: int = 0  # days from a period's first day to its last


# Fields that are not here are not kept: they answer about the log, the projections or operations.
RULES = {
    "userProgress": Rule(10, catalogue=True, clock=True),  # what is unlearned; the current streak
    "dailyStats": Rule(15, period="daily"),
    "weeklyStats": Rule(60, batch=True, period="weekly", longest=6),
    "monthlyStats": Rule(30, period="monthly", longest=30),
    "itemStats": Rule(10, catalogue=True),  # headwords, levels, domains
    "item": Rule(30, catalogue=True),
    "domainStats": Rule(60, batch=True),  # with the catalogue as the batch counted it
    "levelStats": Rule(60, batch=True),
    "streak": Rule(5, clock=True),
    "dueForecast": Rule(10, catalogue=True, clock=True),  # what is archived is not due
}


class Question(msgspec.Struct, frozen=True):
    """A root field of a query, about a learner."""

    name: str
    user_id: str
    params: str  # a hash of all that is asked, and of whom it is about
    last_day: date | None = None  # that rows of periods are about

    @property
    def rule(self) -> Rule:
        return RULES[self.name]


def question(
    name: str, user_id: str, arguments: Mapping[str, Any], selection: str
) -> Question | None:
    """What a root field with those arguments asks; None where its answer is not kept.

    `arguments` are coerced, by their names in the schema; `selection` is the field's selection
    with its response keys, written the same way each time.
    """
    rule = RULES.get(name)
    if rule is None or arguments.get("asOf") or arguments.get("knownAt"):
        return None
    if arguments.get("filter") == "DUE":  # what is due changes by the moment
        return None
    said = msgspec.json.encode((_revision(), name, user_id, sorted(arguments.items()), selection))
    params = hashlib.blake2b(said, digest_size=16).hexdigest()
    return Question(
        name, user_id, params, _last_day(rule, arguments["to"]) if rule.period else None
    )


def _last_day(rule: Rule, to: date) -> date:
    """Of the period that a day is in, at the latest; the calendar ends before some do."""
    return date.fromordinal(min(to.toordinal() + rule.longest, date.max.toordinal()))


class Place(NamedTuple):
    """Where an answer is kept: a key, or a field of one; and for how long."""

    key: str
    field: str | None
    life: timedelta


def place(asked: Question, at: datetime) -> Place:
    """Where the answer is kept that is asked for at that moment."""
    if asked.name == "userProgress":
        return Place(f"summary:{asked.user_id}", asked.params, _SUMMARY)
    if asked.last_day and asked.last_day < (at - _OVER_EVERYWHERE).date():
        key = f"stats:{asked.rule.period}:{asked.last_day}:{asked.user_id}"
        return Place(key, asked.params, _FINISHED)
    key = f"query:{asked.name}:{asked.user_id}:{asked.params}"
    return Place(key, None, timedelta(minutes=asked.rule.minutes))


def getting(at: Place) -> Sequence[str]:
    """The command that gets the entry."""
    return ("GET", at.key) if at.field is None else ("HGET", at.key, at.field)


def keeping(at: Place, entry: bytes, seconds: float | None) -> Sequence[str | bytes | int] | None:
    """The command that keeps the entry, for so long at most; None if it is not to be kept."""
    life = at.life.total_seconds() if seconds is None else min(seconds, at.life.total_seconds())
    milliseconds = int(life * 1000)
    if milliseconds <= 0 or len(entry) > _LARGEST:
        return None
    if at.field is None:
        return ("SET", at.key, entry, "PX", milliseconds)
    return ("EVAL", _HOLD, 1, at.key, at.field, entry, milliseconds)


@functools.cache
def _revision() -> str:
    """Changes with the read models and with the code that answers from them."""
    digest = hashlib.sha256(schema.schema_name().encode())
    here = Path(__file__).parent.parent
    code = [here / each for each in ("read_models", "live", "graphql", "execution", "http")]
    for folder in (*code, statements.SQL / "read_models", statements.SQL / "projections"):
        for file in sorted([*folder.glob("*.py"), *folder.glob("*.sql")]):
            digest.update(file.read_bytes())
    return digest.hexdigest()
