"""The REST call that publishes messages, for clients without gRPC, such as curl.

`POST /v1/projects/PROJECT/topics/TOPIC:publish` has the same body and response as in Pub/Sub.
"""

import asyncio
import contextlib
import json
import re
from typing import Any

from google.protobuf import json_format
from google.pubsub_v1 import types

from progress.local.pubsub import services
from progress.local.pubsub.background import Background
from progress.local.pubsub.broker import Broker, NotFound

_PUBLISH = re.compile(r"POST /v1/(projects/[^/\s]+/topics/[^/:\s]+):publish HTTP/1\.[01]")
_LENGTH = re.compile(r"^content-length: *(\d+) *\r$", re.IGNORECASE | re.MULTILINE)
_MAX_BODY_BYTES = 16 * 2**20  # the limit of the gRPC server
_READ_TIMEOUT_S = 30.0
_STATUSES = {200: "OK", 400: "INVALID_ARGUMENT", 404: "NOT_FOUND"}


class RestApi:
    """An HTTP server that responds to one request per connection."""

    def __init__(self, broker: Broker, background: Background) -> None:
        self._broker, self._background = broker, background

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_READ_TIMEOUT_S):
                writer.write(await self._respond(reader))
                await writer.drain()
        writer.close()

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError:
            return _error(400, "the headers are too long")
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if size > _MAX_BODY_BYTES:
            return _error(400, f"expected a body of at most {_MAX_BODY_BYTES} bytes")
        body = await reader.readexactly(size)
        call = _PUBLISH.match(head)
        if call is None:
            return _error(404, "expected POST /v1/projects/PROJECT/topics/TOPIC:publish")
        try:
            return await self._publish(call[1], body)
        except NotFound as error:
            return _error(404, str(error))
        except (json_format.ParseError, ValueError) as error:
            return _error(400, str(error))

    async def _publish(self, topic: str, body: bytes) -> bytes:
        request = types.PublishRequest.pb()()
        json_format.Parse(body, request)
        request.topic = topic
        response = await self._background.finish(services.publish(self._broker, request))
        return _encode(200, json_format.MessageToDict(response))


def _error(code: int, message: str) -> bytes:
    error = {"code": code, "message": message, "status": _STATUSES[code]}
    return _encode(code, {"error": error})


def _encode(code: int, body: dict[str, Any]) -> bytes:
    text = json.dumps(body, indent=2).encode()
    head = (
        f"HTTP/1.1 {code} {_STATUSES[code]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + text
