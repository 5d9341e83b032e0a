"""`progress schema` and `progress sql`: what the declarations and the SQL files give."""

import contextlib
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from progress import files
from progress.errors import ProgressError

schema_group = typer.Typer(no_args_is_help=True)


@schema_group.callback(invoke_without_command=True)
def compare(
    against: Annotated[
        str,
        typer.Option(
            metavar="DIR|REF",
            help="A folder such as schemas/released, or a commit of this repository.",
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
    with _open_schemas(against) as folder:
        from graphql import build_schema, find_breaking_changes, print_schema

        from progress.event_store.contract import changes
        from progress.query.graphql.schema import GRAPHQL

        api = build_schema((folder / "schema.graphql").read_text("utf-8"))
        broken = [*changes.find_breaks(folder)]
        now = build_schema(print_schema(GRAPHQL))
        broken += [change.description for change in find_breaking_changes(api, now)]
    for line in sorted(broken):
        typer.echo(line)
    if broken:
        raise typer.Exit(1)
    typer.echo("nothing breaks")


@contextlib.contextmanager
def _open_schemas(against: str) -> Iterator[Path]:
    """Yield a folder with the schemas of a version; raise ProgressError if there are none."""
    folder = Path(against)
    if folder.is_dir():
        if not (folder / "schema.graphql").exists():
            raise ProgressError(f"expected a file schema.graphql in {folder} - found none")
        yield folder
        return
    api = ["tests/query/api.graphql", "tests/query/api_additions.graphql"]
    git = ["git", "-C", str(files.ROOT), "archive", "--end-of-options", against, "schemas", *api]
    archive = subprocess.run(git, capture_output=True, check=False)
    if archive.returncode:
        raise ProgressError(
            "--against: expected a folder, or a commit of this clone that has schemas - found "
            f"{against!r}"
        )
    with tempfile.TemporaryDirectory() as extracted:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(extracted, filter="data")
        folder = Path(extracted, "schemas")
        texts = [Path(extracted, name).read_text("utf-8") for name in api]
        (folder / "schema.graphql").write_text("\n".join(texts), "utf-8")
        yield folder


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
    """Generate docs/events.md, schemas/events and schemas/asyncapi.json from the event types."""
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
