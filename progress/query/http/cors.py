"""CORS: response headers that let pages of other origins read the responses."""

import re

from starlette.responses import Response

from progress.errors import SettingsError
from progress.query.http.requests import Headers
from progress.query.http.responses import Reply

_ANY = "*"
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:(?P<port>[1-9]\d{0,4}))?"
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_METHODS = (b"access-control-allow-methods", b"GET, HEAD, POST")
_EXPOSED = (b"access-control-expose-headers", b"ETag, Retry-After, WWW-Authenticate")
_MAX_AGE = (b"access-control-max-age", b"7200")
_VARY = (b"vary", b"Origin")
_VARY_PREFLIGHT = (b"vary", b"Access-Control-Request-Headers")


class Cors:
    """The allowed origins of the setting CORS_ORIGINS, and the response headers for them."""

    def __init__(self, setting: str) -> None:
        """Raise SettingsError for a malformed origin."""
        origins = [origin.strip() for origin in setting.split(",") if origin.strip()]
        for origin in origins:
            if origin != _ANY and not _is_origin(origin):
                expected = "expected origins such as https://app.example.com, separated by commas"
                raise SettingsError(f"CORS_ORIGINS: {expected}; found {origin!r}")
        self._any = _ANY in origins
        if self._any and len(origins) > 1:
            raise SettingsError("CORS_ORIGINS: expected * alone, or origins; found both")
        self._origins = {origin.encode() for origin in origins}

    def add_headers(self, headers: Headers, response: Response) -> None:
        """Let a page of an allowed origin read the response."""
        if not self._origins:
            return
        if not self._any:
            response.raw_headers.append(_VARY)
        if lines := self._allow_origin(headers):
            response.raw_headers += (*lines, _EXPOSED)

    def preflight(self, headers: Headers, allow: bytes) -> Response:
        """Return the response to OPTIONS. A page of an allowed origin may send any header.

        Allowing any header is safe, because a request needs a token, which browsers do not add
        automatically.
        """
        response = Reply(b"", 204, ((b"allow", allow),))
        if self._origins and b"access-control-request-method" in headers:
            response.raw_headers += (_VARY, _VARY_PREFLIGHT)
            if lines := self._allow_origin(headers):
                names = headers.get(b"access-control-request-headers", b"")
                allowed = (b"access-control-allow-headers", names)
                response.raw_headers += (*lines, _METHODS, allowed, _MAX_AGE)
        return response

    def _allow_origin(self, headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
        origin = headers.get(b"origin")
        if origin is None or not (self._any or origin in self._origins):
            return ()
        if self._any:
            return ((b"access-control-allow-origin", b"*"),)
        credentials = (b"access-control-allow-credentials", b"true")
        return ((b"access-control-allow-origin", origin), credentials)


def _is_origin(text: str) -> bool:
    """Return whether a browser could send this origin; browsers omit the default port."""
    match = _ORIGIN.fullmatch(text)
    return match is not None and match["port"] != _DEFAULT_PORTS[match["scheme"]]
