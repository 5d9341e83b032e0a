"""The HTTP side of posted events: who may post, the head of a request, and its response."""

import base64
import contextlib
import hmac
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import flask
import msgspec
from flask import Request, Response
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from progress.adapters import request_deadlines, startup
from progress.errors import (
    Forbidden,
    LettersFull,
    RequestRejected,
    SettingsError,
    Unauthenticated,
    Unavailable,
)
from progress.event_store import bodies, timestamps
from progress.event_store.post_answers import Refusal
from progress.ingest import push
from progress.ingest.admission import Admission
from progress.settings import Settings

if TYPE_CHECKING:
    from progress.auth import Authenticator

_REASONS = {
    400: "expected a body in well-formed chunks",
    401: "expected one token: send the token in Authorization, not in another header",
    403: "only Pub/Sub, or what stands for it, pushes here: post events to /events",
    404: "there is nothing at this path: post events to /events",
    405: "expected another method",
    408: f"expected the whole body within {request_deadlines.BODY_TIMEOUT_S:.0f} seconds",
    413: f"expected at most {bodies.MOST_BYTES} bytes",
    415: f"expected {bodies.JSON} or {bodies.LINES} in UTF-8, and no Content-Encoding",
    429: "this instance is full: post again later",
    **dict.fromkeys((500, 503), "the events may not be recorded: post them again later"),
}
_LETTERS_S = 3_600  # an administrator acts within hours
_CHALLENGE = 'Bearer realm="progress"'
_HEADERS = {
    401: {"WWW-Authenticate": _CHALLENGE},
    405: {"Allow": "POST"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "2"},
}


class Posters:
    """Check who may post events.

    On Cloud Run, IAM has admitted the request. Elsewhere, it needs a token of the API's issuer with
    the role `publisher`. The code that verifies tokens is imported with the first such request,
    because an instance that only gets pushes would start more slowly.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._has_iam = bool(settings.k_service and not settings.auth_audience)
        is_served = settings.serve_key and not settings.pubsub_emulator_host
        self._key = f"Bearer {settings.serve_key}".encode() if is_served else None
        self._authenticator: Authenticator | None = None
        self._lock = threading.Lock()

    def check(self, authorization: str) -> str:
        """Return the account of the sender of this header.

        Raise Unauthenticated or Forbidden if the sender may not post. Raise IssuerUnavailable if
        the issuer's keys cannot be fetched.
        """
        if self._has_iam:
            return _read_claim(authorization, "sub")
        import asyncio

        with self._lock:
            authenticator = self._authenticator = self._authenticator or self._load()
        caller = authenticator.find_cached(authorization)
        if caller is None:
            with self._lock:  # each call has an event loop of its own, and they cannot share a lock
                caller = asyncio.run(authenticator.authenticate(authorization))
        if caller.role != "publisher":
            raise Forbidden("expected a token whose only role is publisher")
        return caller.user_id

    def may_push(self, request: Request) -> bool:
        """Return whether the sender may push at the request's path.

        Under `progress serve`, the transport alone may, by its key. On Cloud Run, the settings name
        the account that alone pushes what learners post, because such a push says who posted it.
        """
        authorization = request.headers.get("Authorization", "")
        if self._key:
            return hmac.compare_digest(authorization.encode(), self._key)
        account = self._settings.push_account if request.path == push.LEARNERS_PATH else None
        return account is None or _read_claim(authorization, "email") == account

    def _load(self) -> "Authenticator":
        from progress.auth import Authenticator, load_issuer

        try:
            return Authenticator(load_issuer(self._settings))
        except SettingsError as error:
            raise Unauthenticated(f"no token is accepted here: {error}") from None


def may_be_forged(headers: Headers) -> bool:
    """Return whether Cloud Run may have checked another token than that of `Authorization`.

    If `X-Serverless-Authorization` is there, too, Cloud Run checks that one, and passes on the
    other one unchecked, although this function believes what it says. gunicorn joins two lines of
    `Authorization` by a comma; Cloud Run may have checked either.
    """
    return "X-Serverless-Authorization" in headers or "," in headers.get("Authorization", "")


def _read_claim(authorization: str, name: str) -> str:
    """Return a claim of a token that IAM has verified; "" if there is none."""
    _, _, rest = authorization.partition(".")
    claims = rest.partition(".")[0]
    with contextlib.suppress(ValueError, msgspec.DecodeError):
        content = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
        return str(msgspec.json.decode(content, type=dict[str, Any]).get(name, ""))
    return ""


def receive(
    request: Request,
    admission: Admission,
    posters: Posters,
    handler: Callable[[Request, bytearray, float, str], Response | int],
) -> Response:
    """Return the response of `handler`, or the response that rejects the request."""
    authorization = request.headers.get("Authorization", "")
    try:
        poster = posters.check(authorization)

        def handle(request: Request, body: bytearray, arrived: float) -> Response | int:
            return handler(request, body, arrived, poster)

        answer: Response | int
        answer = _check_head(request) or admission.admit(request, handle, bodies.MOST_BYTES, poster)
    except Unauthenticated as error:
        challenge = _CHALLENGE + (', error="invalid_token"' if authorization else "")
        answer = refuse(401, error, {"WWW-Authenticate": challenge})
    except RequestRejected as error:
        answer = refuse(403 if isinstance(error, Forbidden) else error.status, error)
    except Unavailable as error:
        answer = refuse(503, error, {"Retry-After": str(error.retry_after_s)})
    except LettersFull as error:
        answer = refuse(429, error, {"Retry-After": str(_LETTERS_S)})
    if isinstance(answer, int):
        return reject(request, admission, answer)
    return answer if answer.status_code == 200 else _stream(answer, request, admission)


def probe(request: Request, admission: Admission) -> Response:
    """Return the response to a probe, which is a GET."""
    if request.method not in ("GET", "HEAD"):
        return reject(request, admission, 405, {"Allow": "GET, HEAD"})
    status = startup.status(request.path)
    body = {"status": "ok" if status == 200 else "unavailable"}
    now = {"now": timestamps.to_text(datetime.now(UTC))}
    return respond(status, body | now, {"Cache-Control": "no-store"})


def reject(
    request: Request, admission: Admission, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response with this status, which says why."""
    headers = headers or _HEADERS.get(status)
    return _stream(refuse(status, _REASONS[status], headers), request, admission)


def explain(admission: Admission, fault: HTTPException) -> Response:
    """Return the response to what the framework rejects, and to a defect."""
    request = flask.request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - outlives the proxy
    status = fault.code or 500
    why = _REASONS[status] if status in (500, 503) else fault.description
    return _stream(refuse(status, why, _HEADERS.get(status)), request, admission)


def respond(status: int, body: object, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    text = msgspec.json.encode(body)
    length = {"Content-Length": str(len(text))}
    return Response(text, status, {**(headers or {}), **length}, content_type="application/json")


def refuse(status: int, why: object, headers: Mapping[str, str] | None = None) -> Response:
    """Return the reason in JSON; by its header, a client knows that no proxy answers."""
    return respond(status, Refusal(str(why)), {**(headers or {}), "Progress-Error": "1"})


def _stream(response: Response, request: Request, admission: Admission) -> Response:
    """Send the response, then discard the rest of the body; the framework would read it first."""
    response.response = iter(response.iter_encoded())
    response.call_on_close(lambda: admission.discard(request))
    return response


def _check_head(request: Request) -> int:
    """Return the status that rejects the request before its body is read, or 0."""
    if request.method != "POST":
        return 405
    head = request.headers
    kind = bodies.media_type(head.get("Content-Type", ""), head.get("Content-Encoding", ""))
    return 0 if kind else 415
