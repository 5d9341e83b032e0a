"""`progress schema` and `progress sql`: what the declarations and the SQL files give."""

import io
import subprocess
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from progress import files
from progress.errors import ProgressError

if TYPE_CHECKING:
    from progress.event_store.contract.changes import Contract

schema_group = typer.Typer(no_args_is_help=True)


@schema_group.callback(invoke_without_command=True)
def compare(
    against: Annotated[
        str,
        typer.Option(
            metavar="FILE|REF",
            help="A file such as schemas/released.json, or a commit of this repository.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Generate the files of the event contract, or name what a change breaks.

    With --against, print a line for each change of the event schemas or of the GraphQL schema that
    breaks readers or publishers; exit with 1 if there is one.
    """
    if not against:
        return
    from graphql import build_schema, find_breaking_changes

    from progress.event_store.contract import changes

    former, now = _read_former(against), _take_current()
    apis = [build_schema(contract.api) for contract in (former, now)]
    broken = [change.description for change in find_breaking_changes(*apis)]
    broken += changes.find_breaks(former, now)
    for line in sorted(broken):
        typer.echo(line)
    if broken:
        raise typer.Exit(1)
    typer.echo("nothing breaks")


@schema_group.command()
def release() -> None:
    """Print what this version promises, for schemas/released.json."""
    typer.echo(msgspec.json.encode(_take_current()))


def _take_current() -> "Contract":
    from progress.event_store.contract import changes
    from progress.query.graphql import descriptions
    from progress.query.graphql.schema import GRAPHQL

    return changes.take_current(descriptions.print_bare(GRAPHQL))


def _read_former(against: str) -> "Contract":
    """Return what a version promises; raise ProgressError if the file or the commit has none."""
    from progress.event_store.contract import changes

    if Path(against).is_file():
        try:
            return msgspec.json.decode(Path(against).read_bytes(), type=changes.Contract)
        except msgspec.DecodeError as error:
            raise ProgressError(f"--against: expected schemas in {against} - {error}") from None
    api = ["tests/query/api.graphql", "tests/query/api_additions.graphql"]
    git = ["git", "-C", str(files.ROOT), "archive", "--end-of-options", against, "schemas", *api]
    archive = subprocess.run(git, capture_output=True, check=False)
    if archive.returncode:
        raise ProgressError(
            "--against: expected a file, or a commit of this clone that has schemas - found "
            f"{against!r}"
        )
    texts: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        for member in tar:
            if content := tar.extractfile(member):
                texts[member.name] = content.read()
    events, published = (
        {
            PurePosixPath(name).stem: msgspec.json.decode(text)
            for name, text in texts.items()
            if name.startswith(f"schemas/{folder}/")
        }
        for folder in ("events", "published")
    )
    document = msgspec.json.decode(texts["schemas/asyncapi.json"])
    return changes.take(events, published, document, "\n".join(texts[n].decode() for n in api))


@schema_group.command()
def events(
    folder: Annotated[
        Path,
        typer.Option(
            help="The folder that contains docs and schemas.",
            show_default="this repository",
            exists=True,
            file_okay=False,
        ),
    ] = files.ROOT,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a file is out of date.")
    ] = False,
) -> None:
    """Generate docs/events.md and the folder schemas from the event types."""
    from progress.event_store.contract import files

    if check:
        if stale := files.find_stale(folder):
            names = ", ".join(map(str, stale))
            raise ProgressError(f"out of date: {names}; run `progress schema events`")
        return
    for path in files.write(folder):
        typer.echo(str(path))


def sql(
    name: Annotated[
        str,
        typer.Argument(help="A read model, a file of sql/projections, or a path below sql."),
    ],
    block: Annotated[str | None, typer.Argument(help="Print only this block.")] = None,
) -> None:
    """Print a file of SQL as the database runs it; comments give the places of the lines."""
    from progress.projections import schema

    texts = schema.trace(name)
    if block and block not in texts:
        raise ProgressError(f"{name} has no block {block!r}, only {', '.join(texts)}")
    for each in [block] if block else texts:
        typer.echo(f"-- {each} --\n{texts[each]}\n")
