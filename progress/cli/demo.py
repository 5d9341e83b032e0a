"""`progress demo`: load a real learner's record into the local stack, and show the result."""

import codecs
import io
import sys
from typing import Annotated

import typer
from rich.console import Console

from progress.cli import store, targets
from progress.demo import loading, show
from progress.demo.graphql_client import GraphqlClient
from progress.local import stack

# Replacements for a terminal that cannot encode block characters.
_PLAIN = {"·": ".", "░": "-", "▒": "+", "▓": "*", "█": "#", "■": "#", "─": "-", "━": "=", "…": "~"}
_PLAIN |= {"–": "-", "×": "x"} | dict(zip("▁▂▃▄▅▆▇", "__--==#", strict=True))


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(demo)


def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The page's port.")] = 8080,
) -> None:
    """Start the stack, load a real learner's 12,580 answers through Pub/Sub, and show charts."""
    from progress.local import development_key, sign_in_codes

    _replace_unencodable()
    console = Console(highlight=False)
    show.introduce(console)
    folder = targets.data_folder()
    with console.status("starting the local stack"):
        stack.up(folder, port, attached=False, on_answer=lambda _: None)
    addresses = stack.running(folder).addresses
    user = loading.LEARNER.user_id
    token = development_key.token(folder.key, user, ["learner"])
    client = GraphqlClient(addresses["graphql_url"], token)
    messages = loading.messages()
    total = sum(len(message.events) for message in messages)
    new = loading.load(console, messages, addresses)
    # A separate caller, so that waiting does not use up the rate limit of the learner's page.
    watcher = GraphqlClient(
        addresses["graphql_url"], development_key.token(folder.key, "demo-watcher", [])
    )
    loading.await_projection(console, total, watcher)
    with console.status("running the batch job: weeks, levels and skills"):
        store.run_batch()
    show.report_new(console, new, total)
    show.show_charts(console, client)
    code = sign_in_codes.issue(folder.codes, user, ["learner"])
    show.show_next_steps(console, addresses["graphql_url"], code)


def _replace_unencodable() -> None:
    codecs.register_error("plain", _encode_plain)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="plain")


def _encode_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in characters), error.end
