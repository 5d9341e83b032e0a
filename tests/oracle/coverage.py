"""How much of a text a learner or a group is expected to know.

A text is its items, each with how often it occurs.
"""

import math
from collections.abc import Iterable, Mapping

from tests.oracle.catalogue import Description, catalogue, descriptions
from tests.oracle.days import day_of
from tests.oracle.events import Row, World
from tests.oracle.groups import members
from tests.oracle.items import item_stats
from tests.oracle.levels import sums_of_items
from tests.oracle.memory import FADING_BELOW, add, estimate, memories, rounded
from tests.oracle.word_lists import LEARNER, Reader, headword

Text = Mapping[str, int]
UNIT = 10**12  # of the recalls of a group, whose sums are exact


def recalls(world: World, user_id: str) -> dict[str, float]:
    today = day_of(world, user_id, world.now)
    return {item: estimate(memory, today) for item, memory in memories(world, user_id).items()}


def share(text: Text, known: Mapping[str, float]) -> float:
    return add(text[item] * known.get(item, 0.0) for item in sorted(text)) / sum(text.values())


def coverage(world: World, user_id: str, text: Text, reader: Reader = LEARNER) -> Row:
    known, tokens = recalls(world, user_id), sum(text.values())
    met = {item: row for item, row in item_stats(world, user_id).items() if item in text}
    right = (text[item] for item, row in met.items() if row["correct_answers"])
    sums = sums_of_items([*met.values()])
    masteries = ("items_studied", "learning", "short_term_mastered", "long_term_mastered")
    return {
        "items": len(text),
        "tokens": tokens,
        "covered": share(text, known),
        "learned": sum(right) / tokens,
        **{name: sums[name] for name in masteries},
        "gaps": [
            {
                **word(world, item, headword(world, user_id, item, reader)["headword"]),
                "count": text[item],
                "estimated_recall": rounded(known[item], 3) if item in known else None,
                "adds": missing / tokens,
            }
            for item, missing in largest(
                {item: text[item] * (1 - known.get(item, 0.0)) for item in text}
            )
        ],
    }


def group_coverage(world: World, group_id: str, text: Text) -> Row:
    users, tokens = sorted(members(world, group_id)), sum(text.values())
    known = {user: recalls(world, user) for user in users}
    units = {
        user: {item: math.floor(UNIT * recall + 0.5) for item, recall in known[user].items()}
        for user in users
    }
    covered = {
        user: sum(count * units[user].get(item, 0) for item, count in text.items()) / UNIT / tokens
        for user in users
    }
    missing = {
        item: count * (len(users) - sum(units[user].get(item, 0) for user in users) / UNIT)
        for item, count in text.items()
    }
    return {
        "items": len(text),
        "tokens": tokens,
        "covered": add(covered.values()) / max(len(users), 1),
        "members": [
            {
                "user_id": user,
                "display_name": world.display_name(user),
                "covered": covered[user],
            }
            for user in sorted(users, key=lambda user: (covered[user], user))
        ],
        "gaps": [
            {
                **word(world, item, descriptions(world).get(item, Description()).headword or None),
                "count": text[item],
                "learners": sum(known[user].get(item, 0.0) < FADING_BELOW for user in users),
                "adds": lacking / (len(users) * tokens),
            }
            for item, lacking in largest(missing)
        ],
    }


def word(world: World, item: str, shown: str | None) -> Row:
    level = descriptions(world).get(item, Description()).level
    return {"item_id": item, "headword": shown, "level": level}


def largest(missing: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """Return what is more than 0, most first, at most 200."""
    lacking = [(item, value) for item, value in missing.items() if value > 0]
    return sorted(lacking, key=lambda one: (-one[1], one[0]))[:200]


def catalogue_items(world: World, language: str | None = None) -> list[Row]:
    described = descriptions(world)
    return [
        {
            **word(world, item, described[item].headword or None),
            "kind": described[item].kind,
        }
        for item in sorted(catalogue(world))
        if language in (None, described[item].primary_language)
    ]
