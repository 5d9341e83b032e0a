"""Run the transport: `progress.serve.transport PORT INGEST_URL PROJECT_URL WAKES OPERATIONS`.

The last two are numbers of pushes at the same time. With `--grpc PORT`, programs with Google's
client may use it, too, and publishing needs no key.
"""

import argparse
import asyncio
import os
import signal

import uvloop
from aiohttp import web

from progress import settings
from progress.adapters.telemetry import logs
from progress.errors import SettingsError
from progress.serve.ports import HOST
from progress.serve.transport import broker as brokers
from progress.serve.transport.broker import Broker, Sign
from progress.serve.transport.http_api import HttpApi
from progress.serve.transport.queue import Queue, Subscription
from progress.settings import Settings

_DRAIN_S = 5.0  # for the commands that wait when the system stops


async def serve(options: argparse.Namespace, current: Settings) -> None:
    """Serve until SIGTERM; then deliver the commands that wait, for at most 5 s."""
    if current.database_url is None or current.serve_key is None:
        raise SettingsError("the transport needs DATABASE_URL for its queue, and SERVE_KEY")
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    sign = _open_key(current) if options.grpc else _show_key(current, options.ingest_url)
    queue = await Queue.open(current.database_url)
    async with brokers.open_session() as session, asyncio.TaskGroup() as group:
        group.create_task(queue.keep())
        broker = Broker(queue, session, group, lanes=(options.wakes, options.operations), sign=sign)
        await broker.load()
        urls = options.ingest_url, options.project_url
        await brokers.create_topology(broker, current.pubsub_project_id, *urls)
        group.create_task(broker.follow())
        runner = web.AppRunner(
            HttpApi(broker, None if options.grpc else current.serve_key).app, access_log=None
        )
        await runner.setup()
        await web.TCPSite(runner, HOST, options.port).start()
        if options.grpc:
            from progress.serve.transport import grpc_api  # takes 0.3 s and 20 MB

            server = grpc_api.make_server(broker, f"{HOST}:{options.grpc}")
            await server.start()
        await broker.begin()
        await stopping.wait()
        await broker.drain(_DRAIN_S)
        os._exit(0)  # what is on disk and not delivered waits for the next start


def _open_key(current: Settings) -> Sign:
    from progress.serve import data_folder, development_key  # takes 0.2 s and 8 MB

    key = data_folder.at(current.progress_data_dir).key

    def sign(to: Subscription) -> str:
        audience = to.audience or to.endpoint
        return development_key.push_token(key, to.account, audience) if to.account else ""

    return sign


def _show_key(current: Settings, ingest_url: str) -> Sign:
    """Return what gives the system's key to its own ingest, which takes no other pushes."""
    return lambda to: (current.serve_key or "") if to.endpoint.startswith(ingest_url) else ""


def main() -> None:
    """Run the transport; after an error, end at once, because disk and memory may differ.

    The supervisor starts a new process, which loads all messages from disk.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("ingest_url")
    parser.add_argument("project_url")
    parser.add_argument("wakes", type=int)
    parser.add_argument("operations", type=int)
    parser.add_argument("--grpc", type=int)
    options = parser.parse_args()
    logs.configure("transport")
    uvloop.run(serve(options, settings.current()))


if __name__ == "__main__":
    main()
