"""`python -m progress.local.pubsub PORT`, with the queue in `DATABASE_URL`."""

import asyncio
import functools
import signal
import sys
from collections.abc import Callable

import asyncpg
import grpc.aio
import uvloop

from progress import settings
from progress.errors import SettingsError
from progress.local.pubsub import door
from progress.local.pubsub.broker import Broker
from progress.local.pubsub.ledger import Ledger

_LARGEST = 16 * 2**20  # bytes in one call; Pub/Sub itself takes 10 MB


async def serve(port: int, url: str) -> None:
    """Serve until SIGTERM; end at once where the database goes away, to begin anew with it."""
    over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def end(*, well: bool) -> None:
        if not over.done():
            over.set_result(well)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, functools.partial(end, well=True))
    ledger = await Ledger.open(url, functools.partial(end, well=False))
    broker = Broker(ledger)
    await broker.load()
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", _LARGEST), ("grpc.so_reuseport", 0)]
    )
    server.add_generic_rpc_handlers(door.services(broker))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    well = await over
    await server.stop(grace=1 if well else None)
    if not well:
        sys.exit("the database went away")
    await ledger.close()


async def _opened(url: str, on_loss: Callable[[], None]) -> Ledger:
    """The ledger, once the database is there: it may be starting, as we are."""
    while True:
        try:
            return await Ledger.open(url, on_loss)
        except (OSError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(0.05)


def main() -> None:
    url = settings.current().database_url
    if url is None:
        raise SettingsError("the stand-in needs DATABASE_URL for its queue")
    uvloop.run(serve(int(sys.argv[1]), url))


main()
