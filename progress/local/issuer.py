"""The local stack's issuer of tokens: its key set, and a sign-in that believes what it is told.

For development alone: the deployed functions have no such thing, and refuse its tokens.
"""

import asyncio
import base64
import contextlib
import hashlib
import html
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from progress import settings
from progress.local import codes, datafolder, devkeys
from progress.local.datafolder import DataFolder
from progress.local.ports import HOST
from progress.query import auth

SIGN_IN = "/sign-in"

_ROLES = ("learner", "support", "admin")
_PAGE = Path(__file__).with_name("sign_in.html").read_text(encoding="utf-8")
_STYLE = _PAGE.partition("<style>")[2].partition("</style>")[0]
_LARGEST = 10_000  # bytes of a form
_WITHIN = 5.0  # seconds that a request may take to come in
_STATUS = {200: "OK", 303: "See Other", 400: "Bad Request", 403: "Forbidden", 410: "Gone"}
_STATE = re.compile(r"[0-9A-Za-z_-]{16,128}")

_USED = (
    "This address signs in once, within ten minutes. Sign in here, or run `progress demo` again."
)

_Answer = tuple[int, dict[str, str], bytes]


class Issuer:
    """What is answered to a connection."""

    def __init__(self, folder: DataFolder, *, port: int, page_port: int) -> None:
        """`page_port` is the query function's: nobody but its page is sent a token."""
        self._key, self._codes = folder.key, folder.codes
        self._jwks = devkeys.jwks(folder.key)
        self._own = _origins(port)
        self._pages = _origins(page_port)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and end the connection."""
        with contextlib.suppress(
            ConnectionError,
            TimeoutError,
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ):
            async with asyncio.timeout(_WITHIN):
                writer.write(_written(*await self._answered(reader)))
                await writer.drain()
        writer.close()

    async def _answered(self, reader: asyncio.StreamReader) -> _Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target = first.split(" ")[:2]
        headers = {n.strip().lower(): v.strip() for n, _, v in (x.partition(":") for x in lines)}
        path, _, query = target.partition("?")
        if path != SIGN_IN:  # the key set, whatever else is asked
            return 200, {"Content-Type": "application/json"}, self._jwks
        if not self._is_ours(headers):
            return self._form(403, "", "Open this page by its own address.")
        if method != "POST":
            return self._begun(_one(query, "return"), _one(query, "login_hint"))
        size = min(int(headers.get("content-length", "0")), _LARGEST)
        return self._signed((await reader.readexactly(size)).decode())

    def _is_ours(self, headers: Mapping[str, str]) -> bool:
        """Whether a browser sent it from this page itself: another site's script gets nothing."""
        origin = headers.get("origin", self._own[0])
        return f"http://{headers.get('host')}" in self._own and origin in self._own

    def _begun(self, page: str, code: str) -> _Answer:
        """The form; or straight back with a token, if a one-time code came along."""
        back = self._back(page) if code else None
        if back is None:
            return self._form(200, page)
        redeemed = codes.redeem(self._codes, code)
        return self._form(410, page, _USED) if redeemed is None else self._sent(back, *redeemed)

    def _signed(self, form: str) -> _Answer:
        page, user, role = (_one(form, name) for name in ("return", "user", "role"))
        back = self._back(page)
        if back is None:
            return self._form(400, "", f"Begin at this stack's own page, {self._pages[0]}")
        if not auth.is_id(user) or role not in _ROLES:
            return self._form(400, page, "Give an id of 1 to 200 characters, and a role.")
        return self._sent(back, user, [role])

    def _sent(self, back: str, user: str, roles: list[str]) -> _Answer:
        token = devkeys.token(self._key, user, roles)
        return 303, {"Location": f"{back}#token={token}", "Cache-Control": "no-store"}, b""

    def _back(self, page: str) -> str | None:
        """The address to go back to, if it is our page's, with the state that its tab gave."""
        parts = urlsplit(page)
        origin, state = f"{parts.scheme}://{parts.netloc}", _one(parts.query, "state")
        if origin not in self._pages or parts.path not in ("", "/") or not _STATE.fullmatch(state):
            return None
        return f"{origin}/?state={state}"

    def _form(self, status: int, page: str, fault: str = "") -> _Answer:
        style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
        policy = (
            f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; "
            f"form-action 'self' {' '.join(self._pages)}; frame-ancestors 'none'"
        )
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": policy,
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        text = _PAGE.replace("{return}", html.escape(page)).replace("{fault}", html.escape(fault))
        return status, headers, text.encode()


def _origins(port: int) -> tuple[str, ...]:
    return f"http://{HOST}:{port}", f"http://localhost:{port}"


def _one(form: str, name: str) -> str:
    """The value of a field; empty if there is none."""
    return parse_qs(form).get(name, [""])[0].strip()


def _written(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} {_STATUS[status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


async def _serve(folder: DataFolder, address: str, port: int, page_port: int) -> None:
    issuer = Issuer(folder, port=port, page_port=page_port)
    async with await asyncio.start_server(issuer.answer, address, port) as door:
        await door.serve_forever()


def main() -> None:
    """`python -m progress.local.issuer ADDRESS PORT PAGE_PORT`: for containers, until stopped."""
    address, port, page_port = sys.argv[1:]
    folder = datafolder.at(settings.current().progress_data_dir)
    datafolder.make_usable(folder)
    devkeys.ensure(folder.key)
    asyncio.run(_serve(folder, address, int(port), int(page_port)))


if __name__ == "__main__":
    main()
