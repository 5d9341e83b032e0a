"""`progress up`, `down`, `env` and `open`: the local stack."""

import contextlib
import signal
import webbrowser
from typing import Annotated
from urllib.parse import urlsplit

import typer

from progress.adapters import terminal
from progress.adapters.terminal import Console
from progress.cli import connections
from progress.cli.shared_options import AsJson
from progress.cli.tokens import Groups, Roles, User, list_roles
from progress.demo import loading
from progress.serve import data_folder, processes
from progress.serve.laptop import stack as local_stack

_PRINTED = (
    *("graphql_url", "ingest_url", "events_url", "project_id", "database_url", "redis_url"),
    "jwks_url",
)

Detach = Annotated[bool, typer.Option("--detach", help="Return when the stack is ready.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The page's port.")]


def up(detach: Detach = False, port: Port = local_stack.DEFAULT_PORT) -> None:
    """Start the local stack: PostgreSQL, Valkey, the functions and the scheduler."""
    console = Console()
    with console.status("starting the local stack"):
        supervisor = local_stack.up(
            connections.target().folder,
            port,
            attached=not detach,
            on_answer=lambda part: console.print(f"  {part} is ready"),
        )
    url = data_folder.running(connections.target().folder).addresses["graphql_url"]
    if supervisor is None:
        console.print(f"The local stack is already running: {url}", soft_wrap=True)
        if port not in {local_stack.DEFAULT_PORT, urlsplit(url).port}:
            console.print(f"To use port {port}, first run `progress down`.", soft_wrap=True)
        return
    console.print(f"The local stack is running: {url}")
    page = url.removesuffix("graphql")
    console.print(f"`progress open --user ID` opens a learner's page; post events to {page}events")
    if not detach:
        console.print("Ctrl-C stops it.")
        # SIGTERM raises KeyboardInterrupt, as Ctrl-C does. The signal handler itself must not wait,
        # because the interrupted wait() holds the lock of the Popen object.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            supervisor.wait()
        processes.end(supervisor, by=signal.SIGTERM, seconds=45)


def down() -> None:
    """Stop the local stack and keep its data."""
    console = Console()
    with console.status("stopping the local stack"):
        ran = local_stack.down(connections.target().folder)
    console.print("The local stack has stopped." if ran else "The local stack is not running.")


def env(as_json: AsJson = False) -> None:
    """Print the addresses and process ids of the local stack."""
    state = data_folder.running(connections.target().folder)
    addresses = {name: state.addresses[name] for name in _PRINTED if name in state.addresses}
    pids = local_stack.pids(state)
    if as_json:
        terminal.print_json(addresses | {"pids": pids}, is_indented=True)
        return
    for name, value in addresses.items():
        typer.echo(f"{name}={value}")
    for name, numbers in pids.items():
        typer.echo(f"pid_{name}={' '.join(map(str, numbers))}")


def open_command(
    user: User = loading.LEARNER.user_id, role: Roles = None, group: Groups = None
) -> None:
    """Open the page and sign in; without a browser, print an address that signs in once."""
    from progress.serve import development_key

    roles = list_roles(role, group)
    folder = connections.target().folder
    page = data_folder.running(folder).addresses["graphql_url"].removesuffix("graphql")
    token = development_key.sign_in_token(folder.key, user, roles, group or ())
    address = f"{page}#sign-in={token}"
    if _open_browser(address):
        Console().print(f"The page of {user} is open in the browser.", soft_wrap=True)
    else:
        typer.echo("No browser was found. Open this address within ten minutes (it works once):")
        typer.echo(address)


def _open_browser(address: str) -> bool:
    """Open the address in a graphical browser; return False if no such browser opens it."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    return type(browser) is not webbrowser.GenericBrowser and browser.open(address)
