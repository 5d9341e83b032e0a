"""The local stack's token issuer: its key set, and the exchange of a sign-in token.

`progress open` prints an address with a sign-in token, which the page sends to this issuer. For it,
the issuer gives the page a token of the API. The issuer also serves the documents, to which the
administrator's view of the page links. It is for development only: deployed functions reject its
tokens.
"""

import re
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from progress.serve import development_key
from progress.serve.data_folder import DataFolder
from progress.serve.laptop import documents
from progress.serve.ports import HOST

SIGN_IN = "/sign-in"

_STATE = re.compile(r"[0-9A-Za-z_-]{16,128}")
_NO_SIGN_IN = (
    "You are not signed in. Run `progress open --user ID`: it opens the page of this learner. "
    "An address that it prints works once and for ten minutes, at 127.0.0.1 or localhost.\n"
)
_DOCUMENT = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
_SECRET = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Issuer:
    def __init__(self, folder: DataFolder, *, port: int, page_port: int) -> None:
        """Send tokens only to the page on `page_port`, the query function's port."""
        self._key, self._jwks = folder.key, development_key.jwks(folder.key)
        self._own, self._pages = _origins(port), _origins(page_port)
        self._used, self._started = set[str](), int(time.time())

    async def answer(self, request: web.BaseRequest) -> web.Response:
        if document := documents.render(request.path):
            return web.Response(headers=_DOCUMENT, body=document)
        if request.path != SIGN_IN:  # every other path returns the key set
            return web.Response(headers={"Content-Type": "application/json"}, body=self._jwks)
        try:
            page = self._sign_in(request.headers.get("host", ""), request.query_string)
        except ValueError:  # a URL that cannot be parsed
            page = None
        if page is None:
            return web.Response(status=403, headers=_SECRET, text=_NO_SIGN_IN)
        return web.Response(status=303, headers={**_SECRET, "Location": page})

    def _sign_in(self, host: str, query: str) -> str | None:
        """Return the page's address with a token of the API, or None if nobody is to be signed in.

        Only the page of this stack gets one, in the tab that keeps `state`.
        """
        parts = urlsplit(_field(query, "return"))
        origin, state = f"{parts.scheme}://{parts.netloc}", _field(parts.query, "state")
        is_page = origin in self._pages and parts.path in ("", "/") and _STATE.fullmatch(state)
        claims = self._redeem(query) if is_page and f"http://{host}" in self._own else None
        if claims is None:
            return None
        user, roles, groups = (claims[name] for name in ("sub", "roles", "groups"))
        token = development_key.token(self._key, user, roles, groups=groups)
        return f"{origin}/?state={state}#token={token}"

    def _redeem(self, query: str) -> dict[str, Any] | None:
        """Use a sign-in token up. Return its claims, or None if it is none, or cannot be used.

        Tokens from before the start are refused, because those that were used are forgotten.
        """
        claims = development_key.read_sign_in(self._key, _field(query, "login_hint"))
        if not claims or claims["iat"] < self._started or claims["jti"] in self._used:
            return None
        self._used.add(claims["jti"])
        return claims


def _origins(port: int) -> tuple[str, ...]:
    return f"http://{HOST}:{port}", f"http://localhost:{port}"


def _field(form: str, name: str) -> str:
    return parse_qs(form).get(name, [""])[0].strip()
