"""domain_stats and level_stats: item_stats joined to the latest descriptions."""

from tests.oracle.catalogue import catalogue, catalogue_items
from tests.oracle.events import Row, World, ratio
from tests.oracle.items import item_stats
from tests.oracle.models import defines_by_learner


def domain_stats(world: World, user_id: str) -> dict[str, Row]:
    """Return the learner's rows, one for each domain that is in the catalogue or was studied."""
    return _rows(world, user_id, "domain")


def level_stats(world: World, user_id: str) -> dict[str, Row]:
    """Return the learner's rows, one for each level that is in the catalogue or was studied."""
    return _rows(world, user_id, "level")


@defines_by_learner("domain_stats")
def studied_domains(world: World, user_id: str) -> dict[str, Row]:
    """Return the rows of the domains that the learner studied."""
    return _only_studied(domain_stats(world, user_id))


@defines_by_learner("level_stats")
def studied_levels(world: World, user_id: str) -> dict[str, Row]:
    """Return the rows of the levels that the learner studied."""
    return _only_studied(level_stats(world, user_id))


def _only_studied(rows: dict[str, Row]) -> dict[str, Row]:
    return {name: row for name, row in rows.items() if row["items_studied"]}


def _rows(world: World, user_id: str, kind: str) -> dict[str, Row]:
    studied: dict[str, list[Row]] = {name: [] for name in catalogue_items(world, kind)}
    for row in item_stats(world, user_id).values():
        for name in row["domains"] if kind == "domain" else [row["level"]]:
            studied.setdefault(name, []).append(row)
    return {name: _row(world, kind, name, items) for name, items in studied.items()}


def _row(world: World, kind: str, name: str, items: list[Row]) -> Row:
    answers = sum(i["answers"] for i in items)
    correct = sum(i["correct_answers"] for i in items)
    mastered = [i for i in items if i["mastery"] in ("SHORT_TERM", "LONG_TERM")]
    in_catalogue = [i for i in mastered if i["item_id"] in catalogue(world)]
    total = None if name == "UNKNOWN" else catalogue_items(world, kind).get(name, 0)
    return {
        kind: name,
        "items_studied": len(items),
        "answers": answers,
        "correct_answers": correct,
        "accuracy_rate": ratio(correct, answers),
        "learning": sum(1 for i in items if i["mastery"] == "LEARNING"),
        "short_term_mastered": sum(1 for i in items if i["mastery"] == "SHORT_TERM"),
        "long_term_mastered": sum(1 for i in items if i["mastery"] == "LONG_TERM"),
        "catalogue_items": total,
        "progress_rate": ratio(len(in_catalogue), total) if total else None,
    }
