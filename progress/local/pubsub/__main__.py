"""`python -m progress.local.pubsub PORT`, with the queue in `DATABASE_URL`."""

import asyncio
import logging
import os
import signal
import sys

import grpc.aio
import uvloop

from progress import settings
from progress.errors import SettingsError
from progress.local.pubsub import door
from progress.local.pubsub.background import Background
from progress.local.pubsub.broker import Broker
from progress.local.pubsub.ledger import Ledger

log = logging.getLogger("progress.local.pubsub")

_LARGEST = 16 * 2**20  # bytes in one call; Pub/Sub itself takes 10 MB


async def serve(port: int, url: str) -> None:
    """Serve until SIGTERM."""
    background = Background(_end)
    ledger = await Ledger.open(url, background)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    broker = Broker(ledger, background)
    await broker.load()
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", _LARGEST), ("grpc.so_reuseport", 0)]
    )
    server.add_generic_rpc_handlers(door.services(broker, background))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await over.wait()
    await server.stop(grace=1)
    await ledger.close()


def _end(why: BaseException) -> None:
    """End at once, to begin anew with what is on disk: what is in memory may be less.

    Nothing is closed: that might wait for the very thing that failed.
    """
    log.critical("the stand-in ends: %s", why, exc_info=why)
    os._exit(1)


def main() -> None:
    url = settings.current().database_url
    if url is None:
        raise SettingsError("the stand-in needs DATABASE_URL for its queue")
    uvloop.run(serve(int(sys.argv[1]), url))


main()
