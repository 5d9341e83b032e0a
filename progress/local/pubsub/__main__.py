"""Run the stand-in: `python -m progress.local.pubsub GRPC_PORT [REST_PORT]`.

The stand-in stores its queue in the database `DATABASE_URL`.
"""

import asyncio
import logging
import os
import signal
import sys

import grpc.aio
import uvloop

from progress import settings
from progress.errors import SettingsError
from progress.local.ports import HOST
from progress.local.pubsub import services
from progress.local.pubsub.background import Background
from progress.local.pubsub.broker import Broker
from progress.local.pubsub.queue_store import QueueStore
from progress.local.pubsub.rest import RestApi

log = logging.getLogger("progress.local.pubsub")

_MAX_CALL_BYTES = 16 * 2**20  # more than Pub/Sub itself, which accepts 10 MB


async def serve(url: str, grpc_port: int, rest_port: int | None = None) -> None:
    """Serve until SIGTERM."""
    background = Background(_abort)
    store = await QueueStore.open(url, background)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    broker = Broker(store, background)
    await broker.load()
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", _MAX_CALL_BYTES), ("grpc.so_reuseport", 0)]
    )
    server.add_generic_rpc_handlers(services.make(broker, background))
    server.add_insecure_port(f"{HOST}:{grpc_port}")
    if rest_port:
        await asyncio.start_server(RestApi(broker, background).answer, HOST, rest_port)
    await server.start()
    await stopping.wait()
    await server.stop(grace=1)
    broker.close()
    await store.close()


def _abort(error: BaseException) -> None:
    """End the process immediately, because a message may be on disk but not in memory.

    The supervisor starts a new process, which loads all messages from disk. Connections are not
    closed first, because closing might wait for the connection that failed.
    """
    log.critical("the stand-in ends: %s", error, exc_info=error)
    os._exit(1)


def main() -> None:
    url = settings.current().database_url
    if url is None:
        raise SettingsError("the stand-in needs DATABASE_URL for its queue")
    uvloop.run(serve(url, *map(int, sys.argv[1:])))


main()
