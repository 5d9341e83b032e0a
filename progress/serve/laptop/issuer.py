"""The local stack's token issuer: its key set, and a sign-in page without a password.

It also serves the documents, to which the administrator's view of the page links.

It also is an OpenID Connect issuer, with the authorization code flow and PKCE, for pages on this
machine that sign in (examples/sign-in). The issuer is for development only: deployed functions have
no such page and reject these tokens.
"""

import asyncio
import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web

from progress import auth
from progress.serve import development_key
from progress.serve.data_folder import DataFolder
from progress.serve.laptop import documents, sign_in_codes
from progress.serve.ports import HOST

SIGN_IN = "/sign-in"
DISCOVERY = "/.well-known/openid-configuration"
_AUTHORIZE, _TOKEN = "/authorize", "/token"

_ROLES = ("learner", "teacher", "support", "admin")
_PAGE = Path(__file__).with_name("sign_in.html").read_text(encoding="utf-8")
_STYLE = _PAGE.partition("<style>")[2].partition("</style>")[0]
_READ_TIMEOUT_S = 5.0
_THIS_MACHINE = re.compile(rf"http://({re.escape(HOST)}|localhost):\d{{1,5}}")
_STATE = re.compile(r"[0-9A-Za-z_-]{16,128}")

# Pages of other origins may read these answers. They have no cookie to send.
_JSON = {
    "Content-Type": "application/json",
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "no-store",
}

_DOCUMENT = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}

_CODE_USED = (
    "This address works only once and only for ten minutes. Sign in here, or run `progress open`."
)

_Response = tuple[int, dict[str, str], bytes]


class Issuer:
    def __init__(self, folder: DataFolder, *, port: int, page_port: int) -> None:
        """Send tokens only to the page on `page_port`, the query function's port."""
        self._key, self._codes = folder.key, folder.codes
        self._jwks = development_key.jwks(folder.key)
        self._own = _origins(port)
        self._pages = _origins(page_port)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        try:
            status, headers, body = await self._respond(request)
        except ValueError:  # a URL or a form that cannot be parsed
            return web.Response(status=400)
        return web.Response(status=status, headers=headers, body=body)

    async def _respond(self, request: web.BaseRequest) -> _Response:
        path, query, headers = request.path, request.query_string, request.headers
        if path == DISCOVERY:
            return 200, _JSON, self._describe()
        if document := documents.render(path):
            return 200, _DOCUMENT, document
        if path not in (SIGN_IN, _AUTHORIZE, _TOKEN):  # every other path returns the key set
            return 200, {"Content-Type": "application/json"}, self._jwks
        if not self._is_ours({"host": headers.get("host", "")} if path == _TOKEN else headers):
            return self._form(403, "", "Open this page at 127.0.0.1 or localhost.")
        if request.method != "POST":
            page = _field(query, "return")
            if path == _AUTHORIZE:
                asked = {name: _field(query, name) for name in ("state", "code_challenge")}
                page = f"{_field(query, 'redirect_uri')}?{urlencode(asked)}"
            return self._start_sign_in(page, _field(query, "login_hint"))
        async with asyncio.timeout(_READ_TIMEOUT_S):
            form = (await request.read()).decode()
        return self._exchange_code(form) if path == _TOKEN else self._submit_form(form)

    def _describe(self) -> bytes:
        own = self._own[0]
        paths = {"authorization_endpoint": _AUTHORIZE, "token_endpoint": _TOKEN, "jwks_uri": "/"}
        endpoints = {name: own + path for name, path in paths.items()}
        return json.dumps({"issuer": development_key.ISSUER, **endpoints}).encode()

    def _is_ours(self, headers: Mapping[str, str]) -> bool:
        """Return whether the headers `Host` and `Origin` name this page; `Origin` may be missing.

        A form that another site submits has the Origin of that site.
        """
        origin = headers.get("origin", self._own[0])
        return f"http://{headers.get('host')}" in self._own and origin in self._own

    def _start_sign_in(self, page: str, code: str) -> _Response:
        back = self._back(page) if code else None
        if back is None:
            return self._form(200, page)
        redeemed = sign_in_codes.redeem(self._codes, code)
        return self._redirect(back, *redeemed) if redeemed else self._form(410, page, _CODE_USED)

    def _submit_form(self, form: str) -> _Response:
        names = ("return", "user", "role", "group")
        page, user, role, group = (_field(form, name) for name in names)
        back = self._back(page)
        if back is None:
            return self._form(400, "", f"Sign in from this stack's own page, {self._pages[0]}")
        if not auth.is_id(user) or role not in _ROLES:
            return self._form(400, page, "Give an id of 1 to 200 characters, and a role.")
        if role != "teacher":
            return self._redirect(back, user, [role])
        if not auth.is_id(group):
            return self._form(400, page, "Give the id of the teacher’s group.")
        return self._redirect(back, user, [role], [group])

    def _redirect(
        self, back: tuple[str, str], user: str, roles: list[str], groups: Sequence[str] = ()
    ) -> _Response:
        """Redirect to the page with a token or, if there is a challenge, with a code for it."""
        page, challenge = back
        if challenge:
            code = sign_in_codes.issue(self._codes, user, roles, groups, challenge=challenge)
            page = f"{page}&code={code}"
        else:
            token = development_key.token(self._key, user, roles, groups=groups)
            page = f"{page}#token={token}"
        return 303, {"Location": page, "Cache-Control": "no-store"}, b""

    def _exchange_code(self, form: str) -> _Response:
        """Return the token for a code, if the verifier has the code's challenge (RFC 7636)."""
        digest = hashlib.sha256(_field(form, "code_verifier").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        redeemed = sign_in_codes.redeem(self._codes, _field(form, "code") + challenge)
        if redeemed is None:
            return 400, _JSON, b'{"error": "invalid_grant"}'
        user, roles, groups = redeemed
        token = development_key.token(self._key, user, roles, groups=groups)
        answer = {"id_token": token, "access_token": token, "token_type": "Bearer"}
        return 200, _JSON, json.dumps(answer).encode()

    def _back(self, page: str) -> tuple[str, str] | None:
        """Return the URL of the page with the `state` of its tab, and the challenge for a code.

        The learner's page has no challenge, and gets the token. Return None if `page` is another
        page, neither the learner's nor one on this machine with a challenge, or has no valid state.
        """
        parts = urlsplit(page)
        origin, state = f"{parts.scheme}://{parts.netloc}", _field(parts.query, "state")
        challenge = _field(parts.query, "code_challenge")
        is_page = origin in self._pages and parts.path in ("", "/")
        is_client = bool(challenge) and _THIS_MACHINE.fullmatch(origin)
        if not (is_page or is_client) or not _STATE.fullmatch(state):
            return None
        return f"{origin}{parts.path or '/'}?state={state}", challenge

    def _form(self, status: int, page: str, error: str = "") -> _Response:
        style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
        parts = urlsplit(page)
        origin = f"{parts.scheme}://{parts.netloc}"
        targets = {*self._pages, *([origin] if _THIS_MACHINE.fullmatch(origin) else [])}
        policy = (
            f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; "
            f"form-action 'self' {' '.join(sorted(targets))}; frame-ancestors 'none'"
        )
        headers = {
            **_DOCUMENT,
            "Content-Security-Policy": policy,
            "Referrer-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        text = _PAGE.replace("{return}", html.escape(page)).replace("{fault}", html.escape(error))
        return status, headers, text.encode()


def _origins(port: int) -> tuple[str, ...]:
    return f"http://{HOST}:{port}", f"http://localhost:{port}"


def _field(form: str, name: str) -> str:
    return parse_qs(form).get(name, [""])[0].strip()
