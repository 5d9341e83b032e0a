"""`progress up`, `down`, `env` and `token`: the local stack."""

import contextlib
import signal
import subprocess
from typing import Annotated, get_args

import msgspec
import typer
from rich.console import Console

from progress.cli.places import folder
from progress.local import datafolder, processes
from progress.local import stack as local

_SHOWN = (
    "graphql_url",
    "ingest_url",
    "pubsub_emulator_host",
    "project_id",
    "database_url",
    "redis_url",
    "jwks_url",
)


def add_to(app: typer.Typer) -> None:
    """Give `app` these commands."""
    for command in (up, down, env, token):
        app.command()(command)


def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return once all answer.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The query function's.")] = 8080,
    standin: Annotated[
        bool,
        typer.Option("--standin", help="Our stand-in for Pub/Sub, though the emulator is there."),
    ] = False,
) -> None:
    """Start the local stack: PostgreSQL, Valkey, Pub/Sub, the functions, the scheduler."""
    console = Console()
    with console.status("starting the local stack"):
        started = local.up(
            folder(),
            port,
            attached=not detach,
            standin=standin,
            on_answer=lambda part: console.print(f"  {part} answers"),
        )
    url = local.running(folder()).addresses["graphql_url"]
    if started is None:
        console.print(f"The local stack runs already: {url}")
        return
    console.print(f"The local stack runs: {url}")
    if not detach:
        console.print("Ctrl-C stops it.")
        _stay(started)


def _stay(started: subprocess.Popen[bytes]) -> None:
    """Until the stack ends, or is asked to by a signal to this process."""
    # Ends the wait, as Ctrl-C does: what a handler does itself meets the lock that the wait holds.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        started.wait()
    processes.end(started, by=signal.SIGTERM, seconds=45)


def down() -> None:
    """Stop the local stack; its data stays."""
    console = Console()
    with console.status("stopping the local stack"):
        ran = local.down(folder())
    console.print("The local stack has stopped." if ran else "The local stack does not run.")


def env(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Tell where the parts of the local stack are."""
    state = local.running(folder())
    where = {name: state.addresses[name] for name in _SHOWN}
    pids = local.pids(state)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(where | {"pids": pids})))
        return
    for name, value in where.items():
        typer.echo(f"{name}={value}")
    for name, numbers in pids.items():
        typer.echo(f"pid_{name}={' '.join(map(str, numbers))}")


def _user(value: str) -> str:
    from progress.query.auth import is_id

    if not is_id(value):
        raise typer.BadParameter("expected an id of 1 to 200 characters")
    return value


def _roles(value: list[str] | None) -> list[str] | None:
    from progress.query.auth import Role

    for role in value or ():
        if role not in get_args(Role):
            raise typer.BadParameter(f"{role} is none of {', '.join(get_args(Role))}")
    return value


def token(
    user: Annotated[str, typer.Option(help="The learner's id.", callback=_user)],
    role: Annotated[
        list[str] | None, typer.Option(help="learner, support or admin.", callback=_roles)
    ] = None,
) -> None:
    """Make a token for the local query function, good for a day."""
    from progress.local import devkeys

    at = folder()
    datafolder.make_usable(at)
    devkeys.ensure(at.key)
    typer.echo(devkeys.token(at.key, user, role or ["learner"]))
