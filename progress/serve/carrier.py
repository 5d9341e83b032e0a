"""The carrier of commands to the project function, in place of the topic `progress-commands`.

It holds them in memory. What is lost with it, the batch job sends again.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import aiohttp
import msgspec
from aiohttp import web

from progress.adapters.pubsub import loopback
from progress.adapters.pubsub.push_request import PushEnvelope
from progress.local.ports import HOST
from progress.serve.sessions import OPERATIONS

log = logging.getLogger("progress.serve")

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.05, 10.0  # each pause is twice as long as the one before
_PUSH_TIMEOUT_S = 600.0  # as the deadline of a push of Pub/Sub

_requests = msgspec.json.Decoder(list[PushEnvelope])


class Carrier:
    """Accepts commands at once, and pushes each until project has carried it out."""

    def __init__(self, target: str, session: aiohttp.ClientSession, wakes: int) -> None:
        self._target, self._session = target, session
        self._waiting: dict[bytes, PushEnvelope] = {}  # by command
        self._deliveries: set[asyncio.Task[None]] = set()
        # Each push has sessions of the database; long operations leave room for wake-ups.
        self._turns = asyncio.Semaphore(wakes), asyncio.Semaphore(OPERATIONS)

    async def accept(self, request: web.Request) -> web.Response:
        """Take a list of pushes; one that waits already is not delivered twice."""
        for push in _requests.decode(await request.read()):
            command = push.message.data or b""
            if command not in self._waiting:
                self._waiting[command] = push
                delivery = asyncio.create_task(self._deliver(command))
                self._deliveries.add(delivery)
                delivery.add_done_callback(self._deliveries.discard)
        return web.Response(status=204)

    async def drain(self, seconds: float) -> None:
        """Return when nothing is left to deliver, at the latest after this time."""
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=seconds)

    async def _deliver(self, command: bytes) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            async with self._turns[b'"operation"' in command]:
                # A command that arrives during the push concerns later events: it waits again.
                push = self._waiting.pop(command)
                if await self._push(msgspec.json.encode(push)) == 204:
                    return
            if command in self._waiting:  # the delivery of the later one continues
                return
            self._waiting[command] = push
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_S)

    async def _push(self, body: bytes) -> int:
        """Return the status of the response, 503 if there is none."""
        try:
            async with self._session.post(self._target, data=body) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("a command waits: project does not respond: %s", error)
            return 503


@contextlib.asynccontextmanager
async def carry(port: int, target: str, wakes: int) -> AsyncIterator[Carrier]:
    """Accept commands at `port` on the loopback during the block; push `wakes` at a time."""
    headers = {"Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=_PUSH_TIMEOUT_S)
    kept = aiohttp.TCPConnector(keepalive_timeout=loopback.IDLE_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=kept) as session:
        carrier = Carrier(target, session, wakes)
        app = web.Application()
        app.router.add_post("/", carrier.accept)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port).start()
            yield carrier
        finally:
            await runner.cleanup()
