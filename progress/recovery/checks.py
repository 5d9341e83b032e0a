"""Whether the log is whole and the read models are of this log; and if not, what to do."""

from typing import Any

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.projections import schema

_RESTORE = "restore it: docs/runbook.md, Restore the event store"
_REBUILD = "run `progress rebuild`"


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong: what was found, and what to do."""

    found: str
    do: str


class Shard(msgspec.Struct, frozen=True):
    """How far a shard is folded; `ahead` of the log, or standing on an event of an `other` log."""

    shard: int
    position: int
    batch_position: int
    events_behind: int
    ahead: bool
    other: bool


class Report(msgspec.Struct, frozen=True):
    """The log's events and its last position, each shard's checkpoints, and what is wrong."""

    events: int
    head: int
    shards: list[Shard]
    findings: list[Finding]


def run(connection: Connection) -> Report:
    """Look at all of the log, on the owner's connection. It changes nothing."""
    events, first, head = _asked(connection, "log")[0]
    shards: list[Shard] = []
    findings = _log(connection, events, first, head)
    if schema.exists(connection, schema.schema_name()):
        schema.set_search_path(connection)
        shards = [Shard(*row) for row in _asked(connection, "checkpoints")]
        findings += _shards(shards, head)
    else:
        findings.append(Finding("the read models are not there", "run `progress migrate`"))
    return Report(events, head, shards, findings)


def _log(connection: Connection, events: int, first: int, head: int) -> list[Finding]:
    findings = []
    if events != head or first > 1:
        gaps = ", ".join(f"{starts} to {ends}" for starts, ends in _asked(connection, "gaps"))
        findings.append(Finding(f"the log has gaps: positions {gaps} are missing", _RESTORE))
    if streams := _asked(connection, "streams")[0][0]:
        findings.append(Finding(f"{streams} streams do not count 1, 2, 3 …", _RESTORE))
    if strays := _asked(connection, "strays")[0][0]:
        told = f"{strays} events are in another shard than their stream: this server hashes texts"
        findings.append(Finding(f"{told} otherwise", "use the major version that it came from"))
    for (table,) in _asked(connection, "numbers"):
        told = f"the next number of {table} was given already: it was restored without its sequence"
        findings.append(Finding(told, "restore the dump again, with pg_restore --data-only"))
    return findings


def _shards(shards: list[Shard], head: int) -> list[Finding]:
    findings = []
    if missing := 16 - len(shards):
        findings.append(Finding(f"{missing} of 16 checkpoints are missing", _REBUILD))
    if ahead := [each for each in shards if each.ahead]:
        furthest = max(max(each.position, each.batch_position) for each in ahead)
        told = f"{_named(ahead)} ahead of the log: folded to {furthest}, the log ends at {head}"
        findings.append(Finding(told, _REBUILD))
    if other := [each for each in shards if each.other]:
        told = f"{_named(other)} of another log: their last event is not in this one"
        findings.append(Finding(told, _REBUILD))
    return findings


def _named(shards: list[Shard]) -> str:
    numbers = ", ".join(str(each.shard) for each in shards)
    return (
        f"the read models of shards {numbers} are"
        if len(shards) > 1
        else (f"the read models of shard {numbers} are")
    )


def _asked(connection: Connection, block: str) -> list[list[Any]]:
    return connection.run(blocks("recovery/checks")[block]) or []
