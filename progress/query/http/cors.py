"""CORS: which other origins' pages may read the answers."""

import re

from starlette.responses import Response

from progress.errors import SettingsError
from progress.query.http.requests import Headers
from progress.query.http.responses import Reply

_ANY = "*"
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:(?P<port>[1-9]\d{0,4}))?"
)
_USUAL = {"http": "80", "https": "443"}
_METHODS = (b"access-control-allow-methods", b"GET, HEAD, POST")
_EXPOSED = (b"access-control-expose-headers", b"ETag, Retry-After, WWW-Authenticate")
_KEPT = (b"access-control-max-age", b"7200")
_VARY = (b"vary", b"Origin")
_VARY_ASKED = (b"vary", b"Access-Control-Request-Headers")


class Origins:
    """The origins that CORS_ORIGINS names, and what is told to each."""

    def __init__(self, named: str) -> None:
        """SettingsError names what is no origin."""
        origins = [each.strip() for each in named.split(",") if each.strip()]
        for origin in origins:
            if origin != _ANY and not _is_origin(origin):
                expected = "expected origins such as https://app.example.com, separated by commas"
                raise SettingsError(f"CORS_ORIGINS: {expected}; found {origin!r}")
        self._any = _ANY in origins
        if self._any and len(origins) > 1:
            raise SettingsError("CORS_ORIGINS: expected * alone, or origins; found both")
        self._named = {origin.encode() for origin in origins}

    def tell(self, given: Headers, response: Response) -> None:
        """Let the page that asks read the response, if its origin may."""
        if not self._named:
            return
        if not self._any:
            response.raw_headers.append(_VARY)
        if origin := self._allowed(given):
            response.raw_headers += (*origin, _EXPOSED)

    def preflight(self, given: Headers, allow: bytes) -> Response:
        """The response to OPTIONS; to the page of an origin that may, what it may send.

        Whatever headers it asks for: who may ask is told by a token, which no browser adds itself.
        """
        response = Reply(b"", 204, ((b"allow", allow),))
        if self._named and b"access-control-request-method" in given:
            response.raw_headers += (_VARY, _VARY_ASKED)
            if origin := self._allowed(given):
                headers = given.get(b"access-control-request-headers", b"")
                asked = (b"access-control-allow-headers", headers)
                response.raw_headers += (*origin, _METHODS, asked, _KEPT)
        return response

    def _allowed(self, given: Headers) -> tuple[tuple[bytes, bytes], ...]:
        origin = given.get(b"origin")
        if origin is None or not (self._any or origin in self._named):
            return ()
        if self._any:
            return ((b"access-control-allow-origin", b"*"),)
        credentials = (b"access-control-allow-credentials", b"true")
        return ((b"access-control-allow-origin", origin), credentials)


def _is_origin(text: str) -> bool:
    """Whether a browser could send it: it leaves out the port that is usual."""
    found = _ORIGIN.fullmatch(text)
    return found is not None and found["port"] != _USUAL[found["scheme"]]
