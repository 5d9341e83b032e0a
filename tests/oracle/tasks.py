"""Tasks: lists of the catalogue that are assigned to groups, and who knows their items by when."""

from datetime import date

from tests.oracle.catalogue import Description, descriptions
from tests.oracle.days import day, day_of
from tests.oracle.events import Row, World
from tests.oracle.groups import members as members_of
from tests.oracle.groups import name_of
from tests.oracle.lists import assignments
from tests.oracle.memory import add, estimate, memories, rounded
from tests.oracle.word_lists import LEARNER, List, Reader, all_lists, expect, listed, members

MOST = 2_000  # items of a list about which it is said who knows them


def _tasks(world: World) -> list[tuple[str, date, List]]:
    found = {one.id: one for one in all_lists(world, None) if not one.archived}
    tasks = [
        (group, date.fromisoformat(row["due_on"]), found[list_id])
        for (group, list_id), row in assignments(world).items()
        if row["is_assigned"] and list_id in found
    ]
    tasks.sort(key=lambda task: (task[2].id, task[0]))
    return sorted(tasks, key=lambda task: task[1], reverse=True)


def _known(world: World, user_id: str, due_on: date, found: List) -> Row:
    among = members(world, user_id, found)
    row: Row = {"items": len(among)}
    if len(listed(world, found)) > MOST:
        return row | dict.fromkeys(("known", "known_now", "done", "expected"))
    first = {e.data["item_id"]: day(world, e) for e in reversed(world.correct(user_id))}
    known = sum(item in first and first[item] <= due_on for item in among)
    end = max(due_on, day_of(world, user_id, world.now))
    return row | {
        "known": known,
        "known_now": sum(item in first for item in among),
        "done": known == len(among) if among else None,
        "expected": expect(world, user_id, among, end),
    }


def _task(due_on: date, found: List) -> Row:
    return {"list_id": found.id, "list_name": found.name, "due_on": due_on}


def of_learner(world: World, user_id: str, reader: Reader = LEARNER) -> list[Row]:
    return [
        {"group_id": group, "group_name": name_of(world, group)}
        | _task(due_on, found)
        | _known(world, user_id, due_on, found)
        for group, due_on, found in _tasks(world)
        if user_id in members_of(world, group)
        and (reader.is_learner or reader.groups is None or group in reader.groups)
    ]


def of_group(world: World, group_id: str) -> list[tuple[Row, list[Row]]]:
    tasks = []
    for group, due_on, found in _tasks(world):
        if group == group_id:
            rows = [
                {"user_id": user, "display_name": world.display_name(user)}
                | _known(world, user, due_on, found)
                for user in members_of(world, group)
            ]
            rows.sort(key=lambda row: (row["known"] or 0, row["user_id"]))
            task = {**_task(due_on, found), "items": len(listed(world, found))}
            done = sum(bool(row["done"]) for row in rows) if 1 <= task["items"] <= MOST else None
            tasks.append(({**task, "done": done}, rows))
    return tasks


def words_of_group(world: World, group_id: str) -> list[list[Row]]:
    """Return the words of each task of the group, the least known first."""
    return [
        _words(world, members_of(world, group), due_on, found)
        for group, due_on, found in _tasks(world)
        if group == group_id
    ]


def _words(world: World, users: list[str], due_on: date, found: List) -> list[Row]:
    items = listed(world, found)
    rows = []
    for item in items if len(items) <= MOST else ():
        getting = [user for user in users if item in members(world, user, found)]
        known = [u for u in getting if any(e.data["item_id"] == item for e in world.correct(u))]
        recalls = [
            estimate(memory, max(due_on, day_of(world, user, world.now)))
            for user in getting
            if (memory := memories(world, user).get(item))
        ]
        rows.append(
            {
                "item_id": item,
                "headword": descriptions(world).get(item, Description()).headword or None,
                "members": len(getting),
                "known_now": len(known),
                "expected": rounded(add(recalls), 1),
            }
        )
    return sorted(rows, key=lambda row: row["known_now"])  # the list's order among equals
