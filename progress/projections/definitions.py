"""Definitions: each table of the read models, folded from scratch by one SELECT.

The SELECTs are the blocks `definition` of the models' files. `sql/projections/definitions.sql` has
the relations that they share, and adapters for each engine.
"""

import functools
import graphlib
import re
from collections.abc import Collection, Iterable
from typing import Literal

from progress.adapters.postgres.statements import blocks, fill
from progress.projections import facts, schema

Engine = Literal["postgresql", "duckdb"]

# Views, because a table of all typed events would be as large as the log.
VIEWS = (
    "retracted_events",
    "facts",
    "list_facts",
    "chained_reviews",
    "given_answers",
    "session_facts",
)
_SHARED = (
    "known_learners",
    "shifts",
    "dated_facts",
    "chained_facts",
    "chained_reviews",
    "given_answers",
    "session_facts",
    "returned_answers",
    "answered_weeks",
    "study_spans",
    "item_places",
)
_READ = re.compile(r"\b(?:FROM|JOIN) (\w+)")
# Answers about the past read the live rows of these tables.
PRESENT = (
    "display_names",
    *("own_lists", "own_listed_items", "own_words", "lists", "listed_items", "list_assignments"),
)
OWN = tuple(name for name in PRESENT if name.startswith("own_"))
# The relations that do not depend on the events of learners.
CATALOGUE = (
    *("items", "item_places", "lists", "catalogue_sizes", "catalogue_counts", "level_totals"),
    *("listed_items", "list_assignments"),
)
# Tables of sums over all learners. A rebuild from the archive computes these tables last.
SUMS = ("item_difficulty", "group_items")


def _find_queries() -> dict[str, tuple[str, str]]:
    """Return each relation's file and block: `definition` of its model, or `definition NAME`."""
    found = {name: ("projections/definitions", name) for name in _SHARED}
    for model in (*schema.REALTIME, *schema.BATCH):
        file = f"read_models/{model.name}"
        for block in blocks(file):
            if block.split()[0] == "definition":
                found[block.removeprefix("definition").strip() or model.name] = (file, block)
    return found


_QUERIES = _find_queries()


def _query(relation: str, engine: Engine = "postgresql") -> str:
    if source := schema.REMEMBERED.get(relation):
        parts = {**schema.parts(), **source}
        return fill("read_models/memory", f"{engine} states", **parts)
    file, block = _QUERIES[relation]
    return fill(file, block, **schema.parts())


def _sort_relations() -> Iterable[str]:
    """Return each relation after the relations that its SELECT reads."""
    names = (*_QUERIES, *schema.REMEMBERED)
    reads = {name: _reads(name, _query(name), names) for name in names}
    return graphlib.TopologicalSorter(reads).static_order()


def _reads(name: str, query: str, relations: Collection[str]) -> list[str]:
    """Return the relations that the SELECT of `name` reads, in a stable order."""
    return sorted({*_READ.findall(query)} & {*relations} - {name})


_RELATIONS = tuple(_sort_relations())
TABLES = tuple(name for name in _RELATIONS if name in _QUERIES and name not in _SHARED)
LEARNERS = tuple(table for table in TABLES if table not in (*CATALOGUE, *SUMS))
_BATCH_FILES = {f"read_models/{model.name}" for model in schema.BATCH}
BATCH = tuple(table for table in LEARNERS if _QUERIES[table][0] in _BATCH_FILES)
REALTIME = tuple(table for table in LEARNERS if table not in (*BATCH, *PRESENT))


def event_statements(engine: Engine, cast: str = "CAST") -> list[str]:
    """Return the statements that create the views of the events that folds read.

    `cast` converts the text of an event's field; DuckDB's TRY_CAST gives null for an invalid one.
    """
    queries = _event_queries(engine, f"{engine} events", cast)
    return [_create(name, query) for name, query in queries.items()]


def zone_statement(engine: Engine) -> str:
    """Return the statement that creates the table of the zones' offsets."""
    return _create("zone_offsets", blocks("projections/definitions")[f"{engine} zone_offsets"])


def _event_queries(
    engine: Engine, events: str, cast: str = "CAST", file: str = "projections/definitions"
) -> dict[str, str]:
    """Return the SELECTs of the retractions and of the facts over the events of a block."""
    sql = blocks("projections/definitions")
    parts = facts.parts(cast, "timestamp")
    parts |= {"events": blocks(file)[events], "retracted_id": sql[f"{engine} retracted_id"]}
    # Without it, PostgreSQL would compute the kind again for each column.
    parts["fence"] = "OFFSET 0" if engine == "postgresql" else ""
    names = ("retracted_events", "facts", "list_facts")
    return {name: fill("projections/definitions", name, **parts) for name in names}


def fold_statements(engine: Engine) -> dict[str, str]:
    """Return the statements that create the folded tables and their shared relations, in order.

    The tables are temporary and have the names of the live tables. PostgreSQL needs the functions
    of the live schema.
    """
    return {name: _create(name, _query(name, engine)) for name in _RELATIONS}


def as_of_relations(text: str, *, live: bool = False) -> dict[str, str]:
    """Return the SELECTs of the relations that a query about one learner's past reads, in order.

    They have the parameters `user_id`, `as_of` and `known_at`. With `live`, the relations of
    `REALTIME` select the learner's live rows.
    """
    added = " with lapses" if "lapses" in text else " with memory" if "stability" in text else ""
    return _select_read(_as_of_queries(live=live, items=f"as_of{added}"), text)


def _select_read(queries: dict[str, str], text: str) -> dict[str, str]:
    """Return the relations that a text reads, and those that these read."""
    found, missing = set[str](), [text]
    while missing:
        read = (queries.keys() & {*_READ.findall(missing.pop())}) - found
        found |= read
        missing += (queries[name] for name in read)
    return {name: query for name, query in queries.items() if name in found}


@functools.cache
def _as_of_queries(*, live: bool, items: str) -> dict[str, str]:
    """Return the SELECT of each relation at a past time, after those that it reads.

    `items` is the block of item_stats. Lapses and the states of memory take long to compute, so
    that it has them only if a query reads them.
    """
    shared = blocks("projections/definitions")
    queries = {
        **{name: _query(name) for name in _RELATIONS if name not in PRESENT},
        **_event_queries("postgresql", "as_of events"),
        **{name: shared[f"as_of {name}"] for name in ("zone_offsets", "item_places")},
        "known_learners": fill("projections/definitions", "as_of known_learners", **facts.parts()),
        "segments": blocks("projections/as_of")["segments"],
        **{
            name: fill(f"read_models/{name}", "as_of", **facts.parts())
            for name in ("deleted_learners", "items", "catalogue_sizes", "reviews")
        },
        "waiting": blocks("read_models/items")["waiting"],
        "moved": blocks("read_models/catalogue_sizes")["moved"],
        "item_stats": fill("read_models/item_stats", items, **facts.parts()),
        **{name: fill("projections/as_of", "own rows", name=name) for name in OWN},
    }
    if live:
        kept = (*BATCH, "zone_offsets", "segments", "waiting", "moved")
        kept += (*(name for name in CATALOGUE if name in queries),)
        kept += ("answered_weeks", "returned_answers", "remembered_returns")
        queries = {name: queries[name] for name in kept}
        for name in REALTIME:
            query = live_query(name) or fill("projections/as_of", "all rows", name=name)
            queries[name] = fill("projections/as_of", "live rows", query=query)
        # given_answers is the live view here.
        queries["remembered_answers"] = fill(
            "projections/as_of", "live rows", query=_query("remembered_answers")
        )
    reads = {name: _reads(name, query, queries) for name, query in queries.items()}
    return {name: queries[name] for name in graphlib.TopologicalSorter(reads).static_order()}


def as_of_group_relations(text: str, *, memory: bool, settled: bool) -> dict[str, str]:
    """Return the SELECTs of the relations that a query about a group's past reads, in order.

    They have the parameters `group_id`, `as_of` and `known_at`, which is null. Without `memory`,
    the states of memory are null, because they take long to compute; then, with `settled`, most
    relations select live rows.
    """
    added = " with lapses" if "lapses" in text else " with memory" if memory else ""
    queries = {**_as_of_queries(live=False, items=f"as_of{added}")}
    past = blocks("projections/as_of")
    del queries["group_names"]  # the name is the present one
    queries["known_learners"] = _query("known_learners")
    queries["group_members"] = past["of group members"]
    queries["deleted_learners"] = past["of group deleted"]
    events = "settled events" if settled else "of group events"
    queries |= _event_queries("postgresql", events, file="projections/as_of")
    if settled:
        queries |= {name: past[f"settled {name}"] for name in queries if f"settled {name}" in past}
        queries["zones_in_force"] = live_query("zones_in_force") or ""
        del queries["preferences"], queries["completions"]
    for name, block in (
        ("zones_in_force", "of group zones"),
        *(() if added or settled else (("item_stats", "of group without memory"),)),
    ):
        queries[name] = past[block].replace("{query}", queries[name])
    return _select_read(queries, text)


def live_query(table: str) -> str | None:
    """Return the query that converts live rows to the definition's form; None if none is needed.

    Intervals become numbers of hours, and arrays become texts.
    """
    return _find("live", table)


def loaded_query(table: str) -> str | None:
    """Return the query that converts folded rows for loading; None if they are loaded unchanged.

    Numbers of hours become intervals, texts become arrays, and versions are added.
    """
    return _find("loaded", table)


def fill_statement(table: str) -> str:
    """Return the statement that fills a table of `SUMS` from the learners' tables."""
    return blocks(_QUERIES[table][0])["fill"]


def _find(block: str, table: str) -> str | None:
    file, query = _QUERIES[table]
    return blocks(file).get(query.replace("definition", block, 1))


def _create(table: str, query: str) -> str:
    kind = "VIEW" if table in VIEWS else "TABLE"
    return fill("projections/definitions", "create", kind=kind, table=table, query=query)
