"""A bucket of Cloud Storage, by its JSON API: https://cloud.google.com/storage/docs/json_api."""

import contextlib
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import quote

import google.auth
import requests
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from progress import settings
from progress.errors import ProgressError
from progress.recovery.storage import PART, Output

_CHUNK = 8 << 20  # bytes of one request; a multiple of 256 KiB
_PATIENCE = 60.0  # seconds
_TRIES = 5
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_UNFINISHED = 308


class Bucket:
    """`gs://bucket/prefix`. What is left unfinished, the bucket's life cycle removes."""

    def __init__(self, where: str) -> None:
        name, _, prefix = where.removeprefix("gs://").partition("/")
        if not name:
            raise ProgressError(f"{where}: expected gs://bucket/prefix")
        self._where, self._prefix = where.rstrip("/"), f"{prefix.strip('/')}/".lstrip("/")
        emulator = settings.current().storage_emulator_host
        self._session = requests.Session() if emulator else _session()
        host = emulator or "https://storage.googleapis.com"
        self._objects = f"{host}/storage/v1/b/{name}/o"
        self._uploads = f"{host}/upload/storage/v1/b/{name}/o"

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Output]:
        """A resumable upload: nobody sees the object until it is whole."""
        begun = self._ask(
            "POST",
            self._uploads,
            params={"uploadType": "resumable", "name": self._prefix + path},
            headers={"X-Upload-Content-Type": "application/octet-stream"},
        )
        upload = _Upload(self, begun.headers["Location"])
        try:
            yield upload
            upload.finish()
        except BaseException:
            with contextlib.suppress(ProgressError):
                self._ask("DELETE", upload.url, allowed=(499, 404))
            raise

    def reading(self, path: str) -> Iterator[bytes]:
        """Its bytes, a megabyte at a time."""
        at = f"{self._objects}/{quote(self._prefix + path, safe='')}"
        with self._ask("GET", at, params={"alt": "media"}, stream=True) as answer:
            try:
                yield from answer.iter_content(PART)
            except requests.RequestException as fault:
                raise ProgressError(f"{self._where}/{path} broke off: {fault}; try again") from None

    def folders(self) -> list[str]:
        """By their common prefixes."""
        asked = {"prefix": self._prefix, "delimiter": "/"}
        found: list[str] = []
        while True:
            page = self._ask("GET", self._objects, params=asked).json()
            found += [each[len(self._prefix) : -1] for each in page.get("prefixes", ())]
            if "nextPageToken" not in page:
                return sorted(found)
            asked["pageToken"] = page["nextPageToken"]

    def has(self, path: str) -> bool:
        """Whether it is there."""
        at = f"{self._objects}/{quote(self._prefix + path, safe='')}"
        return self._ask("GET", at, allowed=(404,)).status_code != 404

    def remove(self, name: str) -> None:
        """Not by us: who writes backups may not delete any."""

    def put(self, url: str, data: bytes, said: str) -> requests.Response | None:
        """A part of an upload, or (`bytes */*`) a question how far it is; None where that failed.

        Then another try may succeed.
        """
        try:
            lines = {"Content-Range": said}
            return self._ask(
                "PUT", url, tries=1, allowed=(308, 500, 502, 503), data=data, headers=lines
            )
        except _Away:
            return None

    def _ask(
        self,
        method: str,
        url: str,
        *,
        tries: int = _TRIES,
        allowed: Collection[int] = (),
        **more: Any,
    ) -> requests.Response:
        try:
            answer = self._session.request(method, url, timeout=_PATIENCE, **more)
        except (requests.ConnectionError, requests.Timeout) as fault:
            if tries > 1:
                return self._ask(method, url, tries=tries - 1, allowed=allowed, **more)
            raise _Away(f"{self._where} does not answer: {fault}; try again") from fault
        except GoogleAuthError as fault:
            raise ProgressError(f"{self._where}: the credentials are no good: {fault}") from None
        if answer.ok or answer.status_code in allowed:
            return answer
        if answer.status_code >= 500 and tries > 1:
            return self._ask(method, url, tries=tries - 1, allowed=allowed, **more)
        told = " ".join(answer.text.split())[:200]
        raise ProgressError(f"{self._where}: HTTP {answer.status_code}: {told}")


class _Away(ProgressError):
    """Nobody answers; the same request may succeed later."""


class _Upload:
    """The bytes of an object, a chunk a request; what did not arrive is sent again."""

    def __init__(self, bucket: Bucket, url: str) -> None:
        self._bucket, self.url = bucket, url
        self._waiting, self._sent = bytearray(), 0

    def write(self, data: bytes) -> None:
        self._waiting += data
        while len(self._waiting) > _CHUNK:  # something is kept for the last one
            self._send(_CHUNK, total=None)

    def finish(self) -> None:
        """Send the rest: then the object is there."""
        self._send(len(self._waiting), total=self._sent + len(self._waiting))

    def _send(self, size: int, total: int | None) -> None:
        end = self._sent + size
        for _ in range(_TRIES):
            part = bytes(self._waiting[: end - self._sent])
            span = f"{self._sent}-{end - 1}" if part else "*"
            whole = "*" if total is None else total
            answer = self._bucket.put(self.url, part, f"bytes {span}/{whole}")
            if answer is None or answer.status_code >= 500:
                answer = self._bucket.put(self.url, b"", "bytes */*")
            if answer is None or answer.status_code >= 500:
                continue
            if answer.status_code != _UNFINISHED:
                self._waiting.clear()
                return
            self._forget(answer.headers.get("Range"))
            if self._sent == end and total is None:
                return
        raise ProgressError(f"an upload does not get on, after {self._sent} bytes; try again")

    def _forget(self, arrived: str | None) -> None:
        """Drop what the bucket has: `bytes=0-…`; nothing where it does not say."""
        has = int(arrived.rpartition("-")[2]) + 1 if arrived else 0
        del self._waiting[: has - self._sent]
        self._sent = has


def _session() -> AuthorizedSession:
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError:
        raise ProgressError(
            "there are no credentials: run `gcloud auth application-default login`"
        ) from None
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call] # theirs
