"""`progress demo`: load a real learner's record into the local stack, and show the result."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from progress.adapters import terminal
from progress.adapters.postgres import database
from progress.adapters.pubsub.publisher import Message
from progress.adapters.terminal import Console
from progress.cli import connections, imports, maintenance
from progress.demo import classes, loading, show
from progress.importers import anki_events, anki_import
from progress.serve import data_folder, readiness
from progress.serve.laptop import stack

Port = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="The page's port.", show_default=str(stack.DEFAULT_PORT)),
]
AsRecorded = Annotated[
    bool, typer.Option("--as-recorded", help="Keep the original dates of the answers.")
]
Anki = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Show your own answers, exported from Anki.")
]
User = Annotated[str, typer.Option(help="With --anki, your id.", callback=imports.check_user)]
Class = Annotated[
    bool, typer.Option("--class", help="Load generated learners instead of the real one.")
]
Learners = Annotated[
    int,
    typer.Option(
        min=1, max=classes.MOST, help=f"With --class, how many; {classes.SIZE} are a class."
    ),
]


def demo(
    port: Port = None,
    as_recorded: AsRecorded = False,
    anki: Anki = None,
    user: User = imports.OWN_USER,
    *,
    is_class: Class = False,
    learners: Learners = classes.SIZE,
) -> None:
    """Start the stack, load a real learner's 12,580 answers through ingest, and show the result.

    With --class, load the answers of generated learners instead, and print the address of their
    teacher's page.
    """
    if anki and as_recorded:
        raise typer.BadParameter("expected --anki or --as-recorded, not both")
    if is_class and (anki or as_recorded):
        raise typer.BadParameter("expected --class without --anki and --as-recorded")
    if learners != classes.SIZE and not is_class:
        raise typer.BadParameter("expected --class with --learners")
    if user != imports.OWN_USER and not anki:
        raise typer.BadParameter("expected --anki with --user")
    console = Console()
    try:
        if is_class:
            _demo_class(console, port, learners)
        else:
            _demo(console, port, as_recorded=as_recorded, anki=anki, user=user)
    except KeyboardInterrupt:
        console.print(
            "Interrupted. To go on, run the same command again: no event counts twice. If the "
            "stack has started, it keeps running: `progress down` stops it."
        )
        raise typer.Exit(130) from None


def _demo(
    console: Console, port: int | None, *, as_recorded: bool, anki: Path | None, user: str
) -> None:
    from progress.serve import development_key

    # Read the user's file first, because a damaged file should fail before the stack starts.
    learner = anki_events.Learner(user)
    record = anki_import.read(anki, learner, in_catalogue=True) if anki else None
    addresses = _start(console, port)
    with contextlib.closing(database.connect(addresses["database_url"], name="demo")) as connection:
        if record:
            show.introduce_own(console, record)
            messages = loading.own_messages(connection, record)
            imports.warn_of_future(messages)
        else:
            loaded = loading.prepare(connection, datetime.now(UTC), as_recorded=as_recorded)
            show.introduce(console, loaded.shifted_days)
            messages = loaded.messages
    whose = user if anki else loading.LEARNER.user_id
    _load(console, whose, messages, addresses)
    show.show_numbers(console, addresses["database_url"], whose)
    token = development_key.sign_in_token(connections.target().folder.key, whose, ["learner"])
    show.show_next_steps(console, addresses["graphql_url"], whose, token)


def _demo_class(console: Console, port: int | None, learners: int) -> None:
    from progress.serve import development_key

    addresses, now = _start(console, port), datetime.now(UTC)
    with contextlib.closing(database.connect(addresses["database_url"], name="demo")) as connection:
        last = classes.find_last_day(connection) or classes.find_yesterday(now)
    with console.status(f"generating {learners:,} learners"):
        messages = classes.messages(learners, last, now)
    show.introduce_classes(console, messages, learners)
    _load(console, classes.FIRST, messages, addresses)
    groups = classes.groups(learners)
    key = connections.target().folder.key
    token = development_key.sign_in_token(key, "teacher", ["teacher"], groups)
    show.show_class_steps(console, addresses["graphql_url"], token)


def _start(console: Console, port: int | None) -> dict[str, str]:
    folder = connections.target().folder
    with console.status("starting the local stack"):
        stack.up(folder, port or stack.DEFAULT_PORT, attached=False, on_answer=lambda _: None)
    addresses = data_folder.running(folder).addresses
    used = urlsplit(addresses["graphql_url"]).port
    if port not in {None, used}:
        console.print(
            f"The local stack was running already, on port {used}; port {port} is not used. To use "
            f"port {port}, first run `progress down`."
        )
    return addresses


def _load(console: Console, user: str, messages: list[Message], addresses: dict[str, str]) -> None:
    """Load the messages, of which the first is the account of `user`; wait for the read models."""
    total = sum(len(message.events) for message in messages)
    new = loading.load(console, user, messages, addresses, connections.own_ingest())
    with (
        contextlib.closing(database.connect(addresses["database_url"], name="demo")) as connection,
        terminal.progress_bar(console, "projected", total) as show_progress,
    ):

        def is_folded() -> bool:
            *lags, _ = maintenance.read_lags(connection)
            left = max(int(row["events_behind"]) for row in lags if row["realtime"])
            show_progress(max(total - left, 0))
            return not left

        readiness.wait(is_folded, "the fold (see `progress status`)", seconds=300)
    with console.status("running the batch job: weeks, levels and skills"):
        maintenance.run_batch()
    nothing = "nothing. All events were recorded before; no event is counted twice."
    console.print(f"  New: {f'{new:,} of {total:,} events.' if new else nothing}")
