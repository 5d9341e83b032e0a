"""The read models, each declared once, and their schema.

The SQL is in `sql/read_models` and `sql/projections`.
The schema is named after the fingerprint of its SQL, so that the read models of two revisions can
coexist.
"""

import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from progress.adapters.postgres import statements
from progress.errors import ProgressError
from progress.event_store import time_zones
from progress.projections import columns, facts

if TYPE_CHECKING:
    from progress.adapters.postgres.database import Connection


class ReadModel(NamedTuple):
    """One file of `sql/read_models`.

    `field` is the root field of the query API that reads the model. If the model has no field,
    `internal` states the reason. A model with a field, or with `has_view`, has a view for analysts.
    """

    name: str
    field: str | None = None
    internal: str | None = None
    has_view: bool = False


# In fold order, because a fold reads what earlier folds left in the window's tables.
REALTIME = (
    ReadModel("zone_rules", internal="constants: joined to a learner's zones"),
    ReadModel("preferences", internal="time zones, which decide the local day of all other rows"),
    ReadModel("deleted_learners", internal="tells the folds which learners' events to skip"),
    ReadModel("facts", internal="the typed events that the folds read"),
    ReadModel("display_names", internal="personal: joined to learners, and never in a view"),
    ReadModel("items", internal="the catalogue: joined to a learner's items", has_view=True),
    ReadModel("catalogue_sizes", internal="sums by shard, added up by `scales` and others"),
    ReadModel("lists", internal="the catalogue's lists: joined to a learner's items"),
    ReadModel("listed_items", internal="the items of the catalogue's lists"),
    ReadModel("list_assignments", internal="the catalogue's lists of each group"),
    ReadModel("own_lists", internal="private: only the learner's own queries read them"),
    ReadModel("own_listed_items", internal="private, as own_lists"),
    ReadModel("own_words", internal="private, as own_lists"),
    ReadModel("memory", internal="the step from answer to answer, by FSRS-6, for item_stats"),
    ReadModel("item_stats", field="item"),
    ReadModel("set_aside_items", internal="joined to a learner's items", has_view=True),
    ReadModel(
        "item_difficulty",
        internal="sums by shard, added up by `itemDifficulty`",
        has_view=True,
    ),
    ReadModel("group_items", internal="sums by shard, added up by `hardestItems`"),
    ReadModel(
        "group_members",
        internal="memberships, read by the fields `group` and `learners`",
        has_view=True,
    ),
    ReadModel("group_names", internal="joined to groups: of each group, the latest name counts"),
    ReadModel("reviews", internal="lets a late event change only the neighbouring reviews"),
    ReadModel("repeated_answers", internal="answers that late reviews may turn into first answers"),
    ReadModel("retention_stats", field="retention"),
    ReadModel("item_days", internal="the items of each day, for the counts of weeks and months"),
    ReadModel("completions", internal="first completions of sessions, which daily_stats adds up"),
    ReadModel("learner_sessions", field="sessions"),
    ReadModel("daily_stats", field="dailyStats"),
    ReadModel("hourly_stats", field="hourlyStats"),
    ReadModel("rest_days", field="restDays"),
    ReadModel("learning_streaks", field="streak"),
    ReadModel("member_weeks", internal="sums over 7 days, for the fields `group` and `learners`"),
    ReadModel("goals", field="goal"),
    ReadModel("user_progress", field="userProgress"),
    ReadModel("milestones", field="milestones"),
)
BATCH = (
    ReadModel("catalogue_counts", internal="denominators of domain_stats and level_stats"),
    ReadModel("catalogue_shares", internal="numerators of domain_stats and level_stats"),
    ReadModel("mastery_days", internal="newly mastered items by day, for the pace in level_stats"),
    ReadModel("weekly_stats", field="weeklyStats"),
    ReadModel("calibration_days", internal="tests of recall by day and bin, for `calibration`"),
    ReadModel("knowledge_weeks", internal="what was known in each week, for `knowledgeCurve`"),
    ReadModel("mastery_weeks", internal="items by class of mastery and week, for `masteryCurve`"),
    ReadModel("domain_stats", field="domainStats"),
    ReadModel("level_stats", field="levelStats"),
    ReadModel("level_totals", internal="levels reached: the batch part of milestones"),
    ReadModel("snapshots", internal="rows of learners at one version, for programs"),
)

# The relations with the states of memory after every answer of another relation, whose `keys` tell
# an item.
REMEMBERED = {
    "remembered_answers": {"answers": "given_answers", "keys": "user_id, item_id"},
    "remembered_returns": {"answers": "returned_answers", "keys": "user_id, item_id, monday"},
}

_DRIVERS = ("checkpoints", "versions", "fold", "batch", "interface", "views")
_TEMPORARY_TABLE = re.compile(r"CREATE TEMPORARY TABLE (\w+)")


@functools.cache
def fingerprint() -> str:
    """Return twelve hexadecimal digits that change if a fold or the time-zone rules change."""
    digest = hashlib.sha256(time_zones.VERSION.encode())
    for text in _definitions():
        digest.update(text.encode())
    return digest.hexdigest()[:12]


def schema_name() -> str:
    """Return the name of the schema that holds the read models of this code."""
    return f"progress_{fingerprint()}"


def exists(connection: "Connection", schema: str) -> bool:
    return bool(connection.run("SELECT FROM pg_namespace WHERE nspname = :schema", schema=schema))


def create(connection: "Connection", schema: str | None = None) -> bool:
    """Create the schema with empty read models, in one transaction; return False if it exists."""
    schema = schema or schema_name()
    if exists(connection, schema):
        return False
    # Imported late, because `database` imports pg8000, which the query function does not need.
    from progress.adapters.postgres import database

    with database.transaction(connection):
        connection.run(_name_schema("create", schema=schema))
        connection.run("SET LOCAL ROLE progress_project")
        set_search_path(connection, schema)
        for statement in _name_temporary_tables(_definitions()):
            connection.run(statement)
        connection.run(_block("zone_rules", "fill"), rules=time_zones.encode_rules())
        if not schema.endswith("_building"):
            register(connection, schema)
    return True


def register(connection: "Connection", schema: str) -> None:
    """Let every worker fold the schema from now on."""
    connection.run(statements.blocks("projections/live")["register"], schema=schema)


def set_search_path(connection: "Connection", schema: str | None = None) -> None:
    """Set the connection's search path to the schema's read models and the event store."""
    path = f"{quote(schema or schema_name())}, event_store"
    connection.run_prepared("SELECT set_config('search_path', :path, false)", path=path)


def trace(name: str) -> dict[str, str]:
    """Return the blocks of a file of SQL by name, as the database runs them.

    `name` is a read model, a file of sql/projections, or a path below sql. Comments give the places
    of the lines. Raise ProgressError if there is no such file, or if it has no blocks.
    """
    for file in (f"read_models/{name}", f"projections/{name}", name):
        try:
            written = statements.parse(file)
        except FileNotFoundError:
            continue
        if not written:
            raise ProgressError(f"sql/{file}.sql has no blocks: it runs as it is written")
        return {block: statements.trace(file, block, parts()) for block in written}
    raise ProgressError(f"expected a read model or a file below sql - found {name!r}")


@functools.cache
def list_folded() -> tuple[str, ...]:
    """Return the names of the models that `fold_facts` folds, in the order of its times."""
    concluded = list_conclusions()
    return tuple(n for n in _names(REALTIME) if _has(n, "fold") or n in concluded)


def list_conclusions() -> tuple[str, ...]:
    """Return the names of the models that folds replace by their definition."""
    return tuple(name for name in _names(REALTIME) if _list_kinds(name))


def drop(connection: "Connection", schema: str) -> None:
    """Drop a schema of read models that nobody reads any more."""
    connection.run(statements.blocks("projections/live")["drop"], schema=schema)


def rename(connection: "Connection", schema: str, name: str) -> None:
    connection.run(_name_schema("rename", schema=schema, name=name))


def _definitions() -> list[str]:
    models = (*_names(REALTIME), *_names(BATCH))
    names = ("checkpoints", *models, "versions", "fold", "batch", "interface", "views")
    blocks = ("table", "views", "functions", "comments")
    return [*filter(None, (_block(name, block) for name in names for block in blocks))]


def _name_temporary_tables(definitions: list[str]) -> Iterator[str]:
    """Yield the statements; temporary tables have the fingerprint in their names.

    A connection that folds several schemas keeps the tables of each, and the plans that read them.
    """
    names = {name for text in definitions for name in _TEMPORARY_TABLE.findall(text)}
    found = re.compile(rf"\b({'|'.join(names)})\b")
    return (found.sub(rf"\1_{fingerprint()}", text) for text in definitions)


def _list_projections() -> Iterator[str]:
    """Yield the VALUES row of each model in the lag report, in the order of the report."""
    realtime = sorted(model.name for model in REALTIME if model.field)
    batch = [model.name for model in BATCH if model.field]
    for place, name in enumerate([*realtime, *batch]):
        yield f"({place}, '{name}', {'true' if place < len(realtime) else 'false'})"


def list_views() -> list[str]:
    """Return the names of the models that analysts read through views."""
    return [model.name for model in (*REALTIME, *BATCH) if model.field or model.has_view]


def _list_comments() -> Iterator[str]:
    """Yield the rows of what columns mean: those of one table, and those of all others."""
    tables = {name: columns.find_own(name) for name in list_views()}
    for table, texts in {"": columns.read_shared(), **tables}.items():
        for column, meaning in texts.items():
            text = meaning.english.replace("'", "''")
            yield f"('{table}', '{column}', '{text}')"


@functools.cache
def parts() -> Mapping[str, str]:
    """Return the parts of the SQL that are made of the models' blocks."""
    names = _names(REALTIME)
    refolded = [n for n in names if _has(n, "fold") and not _has(n, "delete_learners")]
    others = [n for n in (*names, *_names(BATCH)) if n not in refolded]
    return {
        "realtime_folds": "\n\n".join(
            f"{_fold(name)}\n\n{_include('fold', 'end of model')}" for name in list_folded()
        ),
        "batch_folds": "\n\n".join(filter(None, map(_fold, _names(BATCH)))),
        "reached_levels": _conclude("milestones", "levels", _include("level_totals", "judged")),
        "window_tables": _list(names, "window"),
        "empty_window": _list(names, "empty_window"),
        # In reverse order: a model that sums up rows of an earlier model subtracts these rows
        # before the earlier model deletes them.
        "reset_learners": _delete_rows(refolded[::-1], "reset_learners"),
        "delete_learners": _delete_rows(others, "delete_learners"),
        "delete_batch_rows": _delete_rows(_names(BATCH), "delete_learners"),
        "snapshot": ",\n".join(
            f"'{name}', {text}"
            for name in names
            if (text := _include_own(name, "snapshot", "snapshot"))
        ),
        "projections": ", ".join(_list_projections()),
        "column_comments": ",\n".join(_list_comments()),
        **_parameters(),
        **{
            name: statements.fill("read_models/memory", "postgresql states", **source)
            for name, source in REMEMBERED.items()
        },
        **facts.parts(),
    }


def _fold(name: str) -> str:
    """Return the fold of a model of facts, or the statements that replace rows of a conclusion."""
    if _has(name, "fold"):
        return _include(name, "fold")
    return "\n\n".join(_conclude(name, kind) for kind in _list_kinds(name))


def _conclude(name: str, kind: str, changed: str | None = None) -> str:
    """Return the statement that replaces the rows of a conclusion, or only those of a kind.

    A block of a kind has the kind in its name. `changed` is the block with the learners.
    """

    def part(block: str) -> str:
        found = [b for b in (f"{block} {kind}".strip(), block) if _has(name, b)]
        return _include(name, found[0]) if found else ""

    return statements.fill(
        _path("fold"),
        "conclude",
        table=name,
        definition=_include(name, kind or "definition"),
        changed=changed or part("changed"),
        replaced=part("replaced") or "true",
        read=part("read"),
        tell=part("tell") or _include("fold", "tell"),
    )


def _list_kinds(name: str) -> list[str]:
    """Return the kinds of rows of a conclusion; '' if a model's rows are of one kind."""
    changed = [block for block in statements.parse(_path(name)) if block.split()[0] == "changed"]
    return [block.removeprefix("changed").strip() for block in changed]


def _parameters() -> dict[str, str]:
    """Return the parameters of FSRS-6 by name: `w0`, `w1` and so on."""
    numbers = statements.blocks("read_models/memory")["parameters"].split(",")
    return {f"w{n}": f"CAST({w.strip()} AS double precision)" for n, w in enumerate(numbers)}


def _names(models: Iterable[ReadModel]) -> tuple[str, ...]:
    return tuple(model.name for model in models)


def _list(models: Iterable[str], block: str) -> str:
    return "\n\n".join(_include(name, block) for name in models if _has(name, block))


def _delete_rows(models: Iterable[str], block: str) -> str:
    return "\n\n".join(filter(None, (_include_own(name, block, "delete rows") for name in models)))


def _include_own(name: str, block: str, default: str) -> str:
    """Return a model's block; if it has none, and rows of learners, the block of all models."""
    if _has(name, block):
        return _include(name, block)
    is_table = name in {*list_folded(), *_names(BATCH)} and _has(name, "table")
    if is_table and "\n    user_id " in statements.parse(_path(name))["table"].text:
        return statements.fill(_path("fold"), default, table=name)
    return ""


def _has(name: str, block: str) -> bool:
    return block in statements.parse(_path(name))


def _include(name: str, block: str) -> str:
    return f"{{{_path(name)} {block}}}"


def _block(name: str, block: str) -> str:
    """Return a block with its parts; '' if the file has no such block."""
    return statements.fill(_path(name), block, **parts()) if _has(name, block) else ""


def _path(name: str) -> str:
    return f"{'projections' if name in _DRIVERS else 'read_models'}/{name}"


def _name_schema(block: str, **names: str) -> str:
    quoted = {part: quote(name) for part, name in names.items()}
    return statements.fill("projections/rebuild", f"{block} schema", **quoted)


def quote(name: str) -> str:
    from pg8000.native import identifier  # takes 20 ms; the query function does not need it

    quoted: str = identifier(name)
    return quoted
