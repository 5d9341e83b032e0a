"""The classes of a school: what a file and the read models say, and the events that change them."""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import ReviewLogError
from progress.event_store import events
from progress.importers import lists, review_rows
from progress.importers.anki_events import Envelope

_FILE = "importers/roster"
_COLUMNS = ("user_id", "group_id")


class Roster(msgspec.Struct, frozen=True):
    """The members of each group, and names by group and by learner; None: no name is known."""

    members: dict[str, dict[str, None]] = {}
    groups: dict[str, str | None] = {}
    learners: dict[str, str | None] = {}
    decided: dict[tuple[str, str], datetime] = {}  # when a group and a learner last changed
    named: dict[str, datetime] = {}  # when a learner was named last


class Changes(msgspec.Struct, frozen=True):
    """Who joins and leaves which group, and the groups and learners with another name."""

    joins: list[tuple[str, str]]
    leaves: list[tuple[str, str]]
    groups: list[str]
    learners: list[str]
    events: list[Envelope]


def read_file(file: Path) -> Roster:
    """Return the roster of a CSV file; `;` and tabs may separate the columns, too.

    Columns: user_id, group_id and, where it has them, group_name, display_name. An empty name says
    nothing. Raise ReviewLogError, which names the row, for the first that is not valid.
    """
    roster = Roster()
    try:
        for number, row in _split(io.StringIO(lists.read_text(file), newline="")):
            _add(roster, number, {name: (cell or "").strip() for name, cell in row.items()})
    except (OSError, UnicodeDecodeError, csv.Error, ReviewLogError) as error:
        raise ReviewLogError(f"{file}: {error}") from None
    if not roster.members:
        raise ReviewLogError(f"{file}: expected a row with a learner and a group")
    return roster


def _split(stream: Iterable[str]) -> Iterator[tuple[int, dict[str, str | None]]]:
    lines = iter(stream)
    head = next(lines, "")
    delimiter = review_rows.find_delimiter(head, _COLUMNS) or ","
    names = review_rows.split_names(head, delimiter)
    if not {*_COLUMNS} <= {*names}:
        raise ReviewLogError(f"row 1: expected the columns {' and '.join(_COLUMNS)}")
    table = csv.DictReader(lines, names, restkey="", delimiter=delimiter, strict=True)
    for row in table:
        row.pop("", None)
        yield table.line_num + 1, row


def _add(roster: Roster, number: int, row: dict[str, str]) -> None:
    if not any(row.values()):
        return
    user, group = row["user_id"], row["group_id"]
    names = {"group_name": row.get("group_name"), "display_name": row.get("display_name")}
    joined = {"user_id": user, "group_id": group, "group_name": names["group_name"]}
    lists.check_row(number, events.LearnerJoinedGroup, joined)
    named = {"user_id": user, "display_name": names["display_name"] or None}
    lists.check_row(number, events.UserPreferencesChanged, named)
    for kind, known, one in (
        ("group_name", roster.groups, group),
        ("display_name", roster.learners, user),
    ):
        former, name = known.get(one), names[kind]
        if former and name and former != name:
            found = f"row {number}, column {kind}: {one} has the name {former!r} above"
            raise ReviewLogError(f"{found}, found {name!r}")
        known[one] = former or name or None
    roster.members.setdefault(group, {})[user] = None


def read(connection: Connection, wanted: Roster) -> Roster:
    """Return what the read models say of the groups and the learners of a file."""
    asked = {"groups": [*wanted.members], "learners": [*wanted.learners]}
    found = Roster()
    for group, user, is_member, at in database.run(connection, _FILE, "members", **asked):
        found.decided[group, user] = at
        if is_member:
            found.members.setdefault(group, {})[user] = None
    found.groups.update(map(tuple, database.run(connection, _FILE, "group names", **asked)))
    for user, name, at in database.run(connection, _FILE, "names", **asked):
        found.learners[user], found.named[user] = name, at
    return found


def compare(wanted: Roster, found: Roster, now: datetime | None = None) -> Changes:
    """Return what makes the recorded roster the file's; a group that it does not name stays."""
    at = now or datetime.now(UTC)
    joins, leaves, made = [], [], list[Envelope]()
    renamed = [g for g, name in wanted.groups.items() if name and name != found.groups.get(g)]
    for group, members in wanted.members.items():
        present = found.members.get(group, {})
        joins += [(group, user) for user in members if user not in present]
        leaves += [(group, user) for user in present if user not in members]
    joined = {group for group, _ in joins}
    # The name of a group is in an event of a member, who may be one already.
    carriers = [(g, next(iter(wanted.members[g]))) for g in renamed if g not in joined]
    for group, user in itertools.chain(joins, carriers):
        fields = {"group_name": wanted.groups[group]} if wanted.groups[group] else {}
        data = {"user_id": user, "group_id": group, **fields}
        since = found.decided.get((group, user))
        made.append(lists.make_event("LearnerJoinedGroup", data, at, since))
    for group, user in leaves:
        data = {"user_id": user, "group_id": group}
        made.append(lists.make_event("LearnerLeftGroup", data, at, found.decided[group, user]))
    learners = [u for u, name in wanted.learners.items() if name and name != found.learners.get(u)]
    for user in learners:
        named = {"user_id": user, "display_name": wanted.learners[user]}
        made.append(lists.make_event("UserPreferencesChanged", named, at, found.named.get(user)))
    return Changes(joins, leaves, renamed, learners, made)


def describe(changes: Changes, wanted: Roster, found: Roster) -> Iterator[str]:
    """Yield a line for each kind of change to a group, and for each new name."""
    for verb, pairs in (("join", changes.joins), ("leave", changes.leaves)):
        for group, members in itertools.groupby(pairs, key=lambda pair: pair[0]):
            users = [user for _, user in members]
            yield f"{group}: {len(users):,} {verb}: {', '.join(users)}"
    for kind, ones, names, former in (
        ("group", changes.groups, wanted.groups, found.groups),
        ("learner", changes.learners, wanted.learners, found.learners),
    ):
        for one in ones:
            before = f", until now {former[one]}" if former.get(one) else ""
            yield f"{kind} {one} is named {names[one]}{before}"
    if not changes.events:
        yield "The record has these classes already: there is nothing to publish."
