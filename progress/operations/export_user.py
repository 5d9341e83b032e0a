"""The archive of a learner's record: one ZIP file from one snapshot of the database.

The rows stream from COPY through the ZIP file to the storage, so that the memory used does not grow
with the number of rows.
"""

import contextlib
import itertools
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from string import Template
from typing import IO, NamedTuple, cast

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks, fill
from progress.adapters.storage.outputs import HashedOutput, Rows
from progress.adapters.storage.storage import Output, encode_json
from progress.errors import OperationEnded
from progress.operations import export_files, export_steps, records
from progress.operations.claimed_operations import ClaimedOperation, connection_for, parse_arguments
from progress.operations.export_steps import Written, open_snapshot
from progress.projections import columns, projector, schema
from progress.projections.schema import BATCH, REALTIME

# The lines `tag | English | Japanese` of the page. What is no HTML tag is the name of a field.
# After `fields` stand the names of fields that mean what the columns with these names do. In place
# of `statistics`, the page has the files that their SQL describes.
_README = Path(__file__).with_name("export_readme.txt")
_PAGE = _README.with_suffix(".html")
_LANGUAGES = {"en": ("Field", "Meaning"), "ja": ("項目", "意味")}  # with the heads of the tables

_FILE = "operations/export_user"


def list_tables(sql_file: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each file with the rows of a model, and the COPY statement that writes it.

    A block `export NAME` is this statement; `rows NAME` is the query of the API, for one learner.
    """
    for block, text in blocks(sql_file).items():
        kind, _, name = block.partition(" ")
        if kind == "export":
            yield name, text
        elif kind == "rows":
            rows = text.rstrip(";").replace(":user_id", "current_setting('export.learner')")
            rows = rows.replace(":is_learner", "TRUE")
            yield name, fill(_FILE, "rows", rows=rows)


_SQL_FILES = (
    *(f"read_models/{model.name}" for model in (*REALTIME, *BATCH)),
    "event_store/accesses",
)
_TABLES = {name: statement for file in _SQL_FILES for name, statement in list_tables(file)}


class UserArguments(msgspec.Struct, frozen=True):
    """The arguments of EXPORT_USER."""

    user_id: str


class Snapshot(NamedTuple):
    """The database snapshot for the ZIP file; `events` is the learner's number of events."""

    taken_at: datetime
    position: int
    events: int


class ArchivedFile(msgspec.Struct, frozen=True):
    """A file inside the ZIP file, as the manifest in the ZIP file lists it."""

    name: str
    rows: int
    bytes: int
    sha256: str


def write_user(operation: ClaimedOperation) -> object:
    """Write the learner's ZIP file; a repeated attempt replaces the file."""
    learner = parse_arguments(operation, UserArguments).user_id

    def write_zip(connection: Connection, output: Output) -> Written:
        return write(connection, learner, output, operation.report_progress)

    with connection_for(operation) as connection:
        projector.catch_up_learner(connection, learner, operation.wait)
        return export_steps.write_file(operation, connection, "progress", "zip", write_zip)


def write(
    connection: Connection, learner: str, output: Output, report_progress: Callable[[float], None]
) -> Written:
    """Write the archive in a transaction, which the caller ends by closing the connection.

    The connection's search path must contain the read models.

    Raise OperationEnded if the learner is deleted. Raise ProgressError if a rebuild replaces the
    read models during the export.
    """
    target = HashedOutput(output)
    with open_snapshot(connection, marks_formulas=True):
        taken_at, position, _, events = database.run(
            connection, _FILE, "snapshot", learner=learner
        )[0]
        if events is None:
            raise OperationEnded("FAILED", "the learner is deleted", cancelled_by=records.DELETION)
        snapshot = Snapshot(taken_at, position, events)
        with zipfile.ZipFile(cast("IO[bytes]", target), "w") as archive:
            writer = _Writer(connection, archive, snapshot)
            _write_files(writer, learner, report_progress)
    return Written(snapshot.taken_at, target.bytes, target.digest.hexdigest())


def _write_files(writer: "_Writer", learner: str, report_progress: Callable[[float], None]) -> None:
    """Write every file; the events, which take longest, make up 90 % of the progress."""
    events = writer.snapshot.events

    def report_events(rows: int) -> None:
        report_progress(0.9 * rows / max(rows, events))

    def report_rows(_: int) -> None:
        report_progress(0.9)

    now = writer.snapshot.taken_at
    writer.write("README.html", make_readme().encode(), rows=0)
    writer.copy("events.jsonl", blocks(_FILE)["events"], report_events, headings=0)
    writer.write_record("summary.json", "read_models/user_progress", "current", learner, now)
    writer.write_record("streak.json", "read_models/learning_streaks", "streak", learner, now)
    for table, statement in _TABLES.items():
        writer.copy(f"{table}.csv", statement, report_rows, headings=1)
    manifest = {
        "user_id": learner,
        "taken_at": now,
        "position": writer.snapshot.position,
        "fingerprint": schema.fingerprint(),
        "files": writer.files,
    }
    writer.write("manifest.json", _encode(manifest), rows=0)


class _Writer:
    """A writer that adds files to an archive, one after the other."""

    def __init__(
        self, connection: Connection, archive: zipfile.ZipFile, snapshot: Snapshot
    ) -> None:
        self.snapshot, self.files = snapshot, list[ArchivedFile]()
        self._connection, self._archive = connection, archive

    def write(self, name: str, content: bytes, *, rows: int) -> None:
        with self._open(name) as file:
            file.write(content)
        self._list(name, rows, file)

    def write_record(self, name: str, file: str, block: str, learner: str, now: datetime) -> None:
        """Write the only row of a query as a JSON object; write null if there is no row."""
        rows = database.fetch(self._connection, file, block, user_id=learner, now=now)
        self.write(name, _encode(rows[0] if rows else None), rows=len(rows))

    def copy(
        self, name: str, statement: str, report_rows: Callable[[int], None], *, headings: int
    ) -> None:
        """Write the lines of a COPY statement; the first `headings` lines do not count as rows."""
        with self._open(name) as file:
            if name.endswith(".csv"):
                file.write(export_files.CSV_BEGIN)
            rows = Rows(file, report_rows)
            self._connection.run(statement, stream=rows)
            rows.flush()
        self._list(name, rows.lines - headings, file)

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[HashedOutput]:
        info = zipfile.ZipInfo(name, self.snapshot.taken_at.timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        with self._archive.open(info, "w", force_zip64=True) as file:
            yield HashedOutput(file)

    def _list(self, name: str, rows: int, file: HashedOutput) -> None:
        self.files.append(ArchivedFile(name, rows, file.bytes, file.digest.hexdigest()))


def _encode(record: object) -> bytes:
    return encode_json(record) + b"\n"


def make_readme() -> str:
    """Return the page that describes every file and field, in both languages."""
    lines: list[list[str]] = []
    for line in filter(None, _README.read_text(encoding="utf-8").splitlines()):
        tag, *texts = line.split(" | ")
        if tag == "fields":
            lines += _explain(texts[0].split())
        elif tag == "statistics":
            lines += itertools.chain(*map(_describe_statistic, (*REALTIME, *BATCH)))
        else:
            lines.append([tag, *texts])
    page = Template(_PAGE.read_text(encoding="utf-8"))
    return page.substitute({name: _describe(lines, name) for name in _LANGUAGES})


def _explain(names: Iterable[str]) -> list[list[str]]:
    return [[name, *(columns.find(name) or ())] for name in names]


def _describe_statistic(model: schema.ReadModel) -> Iterator[list[str]]:
    """Yield the lines about the files whose rows the model's SQL describes."""
    for block, rows in columns.find_rows(model.name).items():
        yield ["h2", f"{block.partition(' ')[2]}.csv"]
        yield ["p", *rows]
        yield from _explain(_list_columns(blocks(f"read_models/{model.name}")[block]))


def _list_columns(query: str) -> list[str]:
    """Return the names of the columns of a SELECT, or of the one that a COPY writes."""
    text, inside = re.sub("--.*", "", query), 1
    text = re.sub(r"COPY \((.*)\) TO STDOUT.*", r"\1", text, flags=re.DOTALL)
    while inside:
        text, inside = re.subn(r"\([^()]*\)", "", text)
    selected = text.partition("SELECT")[2].partition("FROM")[0]
    return [re.findall(r"\w+", column)[-1] for column in selected.split(",")]


def _describe(lines: list[list[str]], language: str) -> str:
    """Return the HTML of one language; a text that both languages share stands once in its line."""
    place, html = list(_LANGUAGES).index(language), list[str]()
    for is_tag, group in itertools.groupby(lines, lambda line: line[0] in ("h1", "h2", "p")):
        texts = [(name, text[place % len(text)]) for name, *text in group]
        if is_tag:
            html += [f"<{tag}>{text}</{tag}>" for tag, text in texts]
            continue
        heads = "".join(f'<th scope="col">{head}</th>' for head in _LANGUAGES[language])
        html += ["<table>", f"<thead><tr>{heads}</tr></thead>", "<tbody>"]
        html += [
            f'<tr><th scope="row"><code>{field}</code></th><td>{text}</td></tr>'
            for field, text in texts
        ]
        html += ["</tbody>", "</table>"]
    return "\n".join(html)
