"""Publishing over HTTP: the call of our own processes, which is that of Pub/Sub's REST API."""

import logging
import secrets
from typing import Any

import msgspec
from aiohttp import ClientConnectionResetError, http_exceptions, web
from aiohttp.log import server_logger

from progress.serve.transport.broker import Broker, NotFound

_MAX_BODY_BYTES = 16 * 2**20  # more than Pub/Sub itself, which accepts 10 MB
_BODY_FAULTS = msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ConnectionError
_FAULTS_OF_CLIENTS = (
    http_exceptions.HttpProcessingError,
    web.RequestPayloadError,
    ClientConnectionResetError,
)
_STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND"}


class _Message(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    data: bytes = b""
    attributes: dict[str, str] = {}
    ordering_key: str = ""


class _Publish(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[_Message]


class HttpApi:
    """The server; with a key, it accepts only those who know the key."""

    def __init__(self, broker: Broker, key: str | None) -> None:
        self._broker = broker
        self._expected = f"Bearer {key}".encode() if key else None
        self.app = web.Application(client_max_size=_MAX_BODY_BYTES)
        path = r"/v1/{topic:projects/[^/:]+/topics/[^/:]+}:publish"
        self.app.router.add_post(path, self._publish)
        server_logger.addFilter(_is_no_client)

    async def _publish(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if self._expected and not secrets.compare_digest(given, self._expected):
            return _error(401, "only processes of Progress publish here")
        try:
            messages = msgspec.json.decode(await request.read(), type=_Publish).messages
        except _BODY_FAULTS as error:
            return _error(400, str(error))
        if not all(message.data or message.attributes for message in messages):
            return _error(400, "a message needs data or an attribute")
        published = [(m.data, m.attributes, m.ordering_key) for m in messages]
        try:
            ids = await self._broker.publish(request.match_info["topic"], published)
        except NotFound as error:
            return _error(404, str(error))
        except ValueError as error:
            return _error(400, str(error))
        return _answer(200, {"messageIds": ids})


def _is_no_client(record: logging.LogRecord) -> bool:
    """Return whether aiohttp tells of another fault than a client that leaves or sends garbage."""
    return not (record.exc_info and isinstance(record.exc_info[1], _FAULTS_OF_CLIENTS))


def _error(code: int, message: str) -> web.Response:
    error = {"code": code, "message": message, "status": _STATUSES[code]}
    return _answer(code, {"error": error})


def _answer(code: int, body: dict[str, Any]) -> web.Response:
    content = msgspec.json.encode(body)
    return web.Response(status=code, body=content, content_type="application/json")
