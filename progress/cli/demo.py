"""`progress demo`: a real learner's record through the local stack, and what comes of it."""

import codecs
import io
import sys
from typing import Annotated

import typer
from rich.console import Console

from progress.cli import places, store
from progress.demo import loading, show
from progress.demo.questions import Asker
from progress.local import stack as local

# For a terminal that has no block characters.
_PLAIN = {"·": ".", "░": "-", "▒": "+", "▓": "*", "█": "#", "■": "#", "─": "-", "━": "=", "…": "~"}
_PLAIN |= {"–": "-", "×": "x"} | dict(zip("▁▂▃▄▅▆▇", "__--==#", strict=True))


def add_to(app: typer.Typer) -> None:
    """Give `app` this command."""
    app.command()(demo)


def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The query function's.")] = 8080,
) -> None:
    """Start the stack, load a real learner's 12,580 answers through Pub/Sub, show the result."""
    from progress.local import codes, devkeys

    _allow_any_encoding()
    console = Console(highlight=False)
    show.introduce(console)
    folder = places.folder()
    with console.status("starting the local stack"):
        local.up(folder, port, attached=False, on_answer=lambda _: None)
    where = local.running(folder).addresses
    user = loading.LEARNER.user_id
    token = devkeys.token(folder.key, user, ["learner"])
    asker = Asker(where["graphql_url"], token)
    messages = loading.messages()
    total = sum(len(message.events) for message in messages)
    new = loading.load(console, messages, where)
    # As another caller: what the learner may ask in a minute is left to their page.
    watcher = Asker(where["graphql_url"], devkeys.token(folder.key, "demo-watcher", []))
    loading.await_projection(console, total, watcher)
    with console.status("weeks, levels and skills: the batch job"):
        store.run_batch()
    show.tell_news(console, new, total)
    show.picture(console, asker)
    code = codes.issue(folder.codes, user, ["learner"])
    show.part(console, where["graphql_url"], code, user)


def _allow_any_encoding() -> None:
    codecs.register_error("plain", _plain)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="plain")


def _plain(fault: UnicodeError) -> tuple[str, int]:
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    lost = fault.object[fault.start : fault.end]
    return "".join(_PLAIN.get(character, "?") for character in lost), fault.end
