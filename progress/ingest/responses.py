"""The responses of ingest: to a post, to a probe, and to what is rejected."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import flask
import msgspec
from flask import Request, Response
from werkzeug.exceptions import HTTPException

from progress.adapters import request_deadlines, startup
from progress.errors import Forbidden, LettersFull, RequestRejected, Unauthenticated, Unavailable
from progress.event_store import bodies, timestamps
from progress.event_store.post_answers import Refusal
from progress.ingest.admission import Admission
from progress.ingest.senders import Senders

_REASONS = {
    400: "expected a body in well-formed chunks",
    401: "expected one token: send the token in Authorization, not in another header",
    403: "nobody pushes here: post events to /events",
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


def receive(
    request: Request,
    admission: Admission,
    senders: Senders,
    handler: Callable[[Request, bytearray, float, str], Response | int],
) -> Response:
    authorization = request.headers.get("Authorization", "")
    try:
        poster = senders.find_poster(authorization)

        def handle(request: Request, body: bytearray, arrived: float) -> Response | int:
            return handler(request, body, arrived, poster)

        head = request.headers
        kind = bodies.media_type(head.get("Content-Type", ""), head.get("Content-Encoding", ""))
        answer: Response | int = 405 if request.method != "POST" else 415
        if request.method == "POST" and kind:
            answer = admission.admit(request, handle, bodies.MOST_BYTES, poster)
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
    if request.method not in ("GET", "HEAD"):
        return reject(request, admission, 405, {"Allow": "GET, HEAD"})
    status = startup.status(request.path)
    body = {"status": "ok" if status == 200 else "unavailable"}
    now = {"now": timestamps.to_text(datetime.now(UTC))}
    return respond(status, body | now, {"Cache-Control": "no-store"})


def reject(
    request: Request, admission: Admission, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    headers = headers or _HEADERS.get(status)
    return _stream(refuse(status, _REASONS[status], headers), request, admission)


def explain(admission: Admission, fault: HTTPException) -> Response:
    """Return the response to what the framework rejects, and to a defect."""
    request = flask.request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - outlives the proxy
    status = fault.code or 500
    why = _REASONS[status] if status in (500, 503) else fault.description
    return _stream(refuse(status, why, _HEADERS.get(status)), request, admission)


def respond(status: int, body: object, headers: Mapping[str, str] | None = None) -> Response:
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
