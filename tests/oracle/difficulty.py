"""The difficulty of items: sums over the item_stats of learners."""

from collections.abc import Iterable

from tests.oracle.catalogue import Description, descriptions, names
from tests.oracle.events import Row, World, ratio
from tests.oracle.items import item_stats
from tests.oracle.models import Rows, defines


def sums(world: World, learners: Iterable[str]) -> dict[str, Row]:
    """Return the sums over the learners' rows, by item.

    Items with neither an answer nor a lapse are left out.
    """
    rows = [(item, row) for user in learners for item, row in item_stats(world, user).items()]
    summed = {item: _sum([row for one, row in rows if one == item]) for item, _ in rows}
    return {item: row for item, row in summed.items() if row["learners"] or row["lapses"]}


def _sum(rows: list[Row]) -> Row:
    answers = sum(row["answers"] for row in rows)
    correct = sum(row["correct_answers"] for row in rows)
    # A row's response times add up to a whole number of milliseconds. Rounding mean * count
    # therefore restores their sum exactly.
    response_ms = sum(round((row["average_response_ms"] or 0) * row["answers"]) for row in rows)
    return {
        "learners": sum(1 for row in rows if row["answers"]),
        "answers": answers,
        "correct_answers": correct,
        "accuracy_rate": ratio(correct, answers),
        "average_response_ms": ratio(response_ms, answers),
        "lapses": sum(row["lapses"] for row in rows),
    }


def learners(world: World) -> list[str]:
    """Return the learners of the events."""
    return sorted({event.user_id for event in world.events if event.user_id})


@defines("item_difficulty")
def difficulty_rows(world: World) -> Rows:
    """Return the sums over all learners."""
    return {(item, ""): row for item, row in sums(world, learners(world)).items()}


def item_difficulty(world: World, level: str | None = None, domain: str | None = None) -> list[Row]:
    """Return the items that at least 5 learners have answered, the lowest accuracy first."""
    return difficulties(
        world, learners(world), fewest_learners=5, fewest_answers=1, level=level, domain=domain
    )


def difficulties(
    world: World,
    of: Iterable[str],
    *,
    fewest_learners: int,
    fewest_answers: int,
    level: str | None = None,
    domain: str | None = None,
) -> list[Row]:
    """Return the items with enough learners and answers, the lowest accuracy first."""
    described = descriptions(world)
    listed = []
    for item, row in sums(world, of).items():
        description = described.get(item, Description())
        if row["learners"] < fewest_learners or row["answers"] < fewest_answers:
            continue
        if level in (None, *names(description, "level")) and domain in (
            None,
            *names(description, "domain"),
        ):
            words = {"headword": description.headword, "level": description.level}
            listed.append({"item_id": item, **words, **row})
    return sorted(listed, key=lambda row: (row["accuracy_rate"], row["item_id"]))
