"""`progress serve`: the whole system on one machine."""

import asyncio
import os
from typing import Annotated

import typer

from progress import settings
from progress.adapters.telemetry import logs
from progress.cli import connections
from progress.errors import StackError
from progress.serve import data_folder, ports, supervision

Port = Annotated[int, typer.Option(min=1, max=65535, help="The port of the page and the API.")]
Public = Annotated[
    bool, typer.Option("--public", help="Listen on all addresses, not only on 127.0.0.1.")
]


def serve(port: Port = 8080, public: Public = False) -> None:
    """Serve the whole system on this machine, without Google.

    DATABASE_URL names the database, and AUTH_AUDIENCE and AUTH_ISSUER your issuer of tokens.
    Posted events, the page and the API have one port. Logs are JSON lines.
    """
    from progress.serve import system  # imports PyJWT, which no other command needs

    current = settings.current()
    logs.configure("serve")
    if unread := settings.describe_unread():
        logs.write("WARNING", unread)
    system.check(current)
    os.umask(0o077)  # files of the processes are accessible to their owner only
    folder = connections.target().folder
    data_folder.make_usable(folder)
    with data_folder.hold(folder, timeout_s=1) as is_free:
        if not is_free:
            why = f"another system runs on the data folder {folder.path}"
            raise StackError(f"{why}: stop it, or set PROGRESS_DATA_DIR to another folder")
        try:
            host = ports.find_any_host() if public else ports.HOST
            asyncio.run(system.serve(folder, host, port, current))
        except BaseExceptionGroup as group:
            raise supervision.first_error(group) from None
