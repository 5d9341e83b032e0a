"""A roster makes the recorded classes those of the file, and a second import changes nothing."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.errors import ReviewLogError
from progress.importers import roster
from progress.importers.roster import Roster
from progress.projections import schema
from progress.projections.projector import Projector
from tests import oracle
from tests.conftest import Store
from tests.support import cli, model_rows
from tests.support.posts import NotedIngest
from tests.support.stage import Stage, append

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
USERS, GROUPS = ("ann", "bob", "cyd"), ("g1", "g2", "g3")
NAMES = st.sampled_from(("Ann", "Bob", None))
ROSTERS = st.builds(
    Roster,
    members=st.dictionaries(
        st.sampled_from(GROUPS),
        st.dictionaries(st.sampled_from(USERS), st.none(), min_size=1),
        min_size=1,
    ),
    groups=st.fixed_dictionaries(dict.fromkeys(GROUPS, NAMES)),
    learners=st.fixed_dictionaries(dict.fromkeys(USERS, NAMES)),
)


def put(stage: Stage, wanted: Roster) -> roster.Changes:
    """Record what changes; `now` is the same in each import, so that later events must differ."""
    names = {group: wanted.groups[group] for group in wanted.members}
    listed = {user for members in wanted.members.values() for user in members}
    named = {user: wanted.learners[user] for user in sorted(listed)}
    wanted = Roster(members=wanted.members, groups=names, learners=named)
    schema.set_search_path(stage.admin)
    changes = roster.compare(wanted, roster.read(stage.admin, wanted), NOW)
    append(
        stage.admin,
        [{**event, "occurred_at": event["occurred_at"].isoformat()} for event in changes.events],
    )
    Projector(stage.admin).catch_up_all()
    return changes


@given(rosters=st.lists(ROSTERS, min_size=1, max_size=3))
def test_the_recorded_classes_are_those_of_the_last_roster_that_names_them(
    stage: Stage, rosters: list[Roster]
) -> None:
    stage.sweep()
    members: dict[str, set[str]] = {}
    groups: dict[str, str] = {}
    names: dict[str, str] = {}
    for one in rosters:
        put(stage, one)
        assert put(stage, one).events == []
        members |= {group: {*users} for group, users in one.members.items()}
        groups |= {group: name for group in one.members if (name := one.groups[group])}
        listed = {user for users in one.members.values() for user in users}
        names |= {user: name for user in listed if (name := one.learners[user])}
    world = oracle.see(model_rows.read_events(stage.admin), NOW)
    for group, users in members.items():
        assert {*oracle.members(world, group)} == users
        found = oracle.group(world, group)
        assert found
        assert found["name"] == groups.get(group)
    shown = {user: world.display_name(user) for user in USERS}
    assert {user: name for user, name in shown.items() if name} == names


FAULTS = {
    "user_id;name\nann;A\n": "row 1: expected the columns user_id and group_id",
    "user_id,group_id\n": "expected a row with a learner and a group",
    "user_id,group_id\n,g1\n": "row 2, column user_id: expected",
    "user_id,group_id,group_name\nann,g1,A\nbob,g1,B\n": "row 3, column group_name: g1 has",
    "user_id,group_id,display_name\nann,g1,A\nann,g2,B\n": "row 3, column display_name: ann has",
    f"user_id,group_id,group_name\nann,g1,{'x' * 101}\n": "row 2, column group_name: expected",
    'user_id,group_id\n"ann,g1\n': "unexpected end of data",
    "user_id,group_id\n\udcff,g1\n": "invalid start byte",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_file_that_is_no_roster_is_refused_by_its_row(tmp_path: Path, text: str) -> None:
    (file := tmp_path / "classes.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ReviewLogError, match=FAULTS[text]):
        roster.read_file(file)


def test_the_command_says_who_joins_leaves_and_is_renamed_before_it_asks(
    store: Store, connection: Connection, noted_ingest: NotedIngest, tmp_path: Path
) -> None:
    file = tmp_path / "classes.csv"

    def run(text: str, *more: str, answer: str = "") -> cli.Result:
        file.write_text(text, encoding="utf-8-sig")
        command = ("import", "roster", str(file), *more)
        done = cli.progress(store.url, *command, text=answer, **noted_ingest.environment)
        Projector(connection).catch_up_all()
        return done

    first = "user_id;group_id;group_name;display_name\nann;g1;5a;Ann\nbob;g1;;\n\n"
    declined = run(first, answer="n\n")
    assert declined.returncode == 1
    assert "g1: 2 join: ann, bob" in declined.stdout
    assert "group g1 is named 5a" in declined.stdout
    asked = cli.expect_success(run(first, answer="y\n"))
    assert "3 appended" in asked
    nothing = cli.expect_success(run(first))
    assert "there is nothing to publish" in nothing
    second = first.replace("bob", "cyd").replace("Ann", "Anna").replace("5a", "6a")
    shown = cli.expect_success(run(second, "--yes", "--json"))
    report = msgspec.json.decode(shown[shown.index("{") :])
    changed: dict[str, Any] = {name: report[name] for name in ("joins", "leaves", "groups")}
    assert changed == {"joins": [["g1", "cyd"]], "leaves": [["g1", "bob"]], "groups": ["g1"]}
    assert (report["learners"], report["appended"]) == (["ann"], 3)
