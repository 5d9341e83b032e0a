"""A Cloud Storage bucket, used through its JSON API: https://cloud.google.com/storage/docs/json_api."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

import requests

from progress import settings
from progress.adapters import retries
from progress.adapters.google_api import GoogleApi
from progress.adapters.storage.storage import (
    PART,
    Content,
    Output,
    StoredFile,
    changed_meanwhile,
)
from progress.errors import ProgressError, StorageUnavailable

_CHUNK = 8 << 20  # bytes per request; must be a multiple of 256 KiB
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_UNFINISHED = 308
_CHANGED = 412


class Bucket:
    """A bucket at `gs://bucket/prefix`, whose lifecycle rules remove unfinished uploads."""

    def __init__(self, location: str) -> None:
        name, _, prefix = location.removeprefix("gs://").partition("/")
        if not name:
            raise ProgressError(f"{location}: expected gs://bucket/prefix")
        self._location, self._prefix = location.rstrip("/"), f"{prefix.strip('/')}/".lstrip("/")
        emulator = settings.current().storage_emulator_host
        self._api = GoogleApi(self._location, StorageUnavailable, None if emulator else _SCOPE)
        host = emulator or "https://storage.googleapis.com"
        self._objects = f"{host}/storage/v1/b/{name}/o"
        self._uploads = f"{host}/upload/storage/v1/b/{name}/o"

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Output]:
        """Write an object by a resumable upload; the object exists only once it is complete."""
        started = self._api.request(
            "POST",
            self._uploads,
            params={"uploadType": "resumable", "name": self._prefix + path},
            headers={"X-Upload-Content-Type": "application/octet-stream"},
        )
        upload = _Upload(self, started.headers["Location"])
        try:
            yield upload
            upload.finish()
        except BaseException:
            with contextlib.suppress(ProgressError):
                self._api.request("DELETE", upload.url, attempts=1, allowed=(499, 404))
            raise

    def reading(self, path: str) -> Iterator[bytes]:
        """Yield the object's bytes, a megabyte at a time."""
        request = self._api.request("GET", self._url(path), params={"alt": "media"}, stream=True)
        with request as response:
            try:
                yield from response.iter_content(PART)
            except requests.RequestException as error:
                raise StorageUnavailable(
                    f"{self._location}/{path}: reading failed: {error}; try again"
                ) from None

    def folders(self) -> list[str]:
        """Return the names of the folders: the common prefixes of the objects' names."""
        prefixes = (name for page in self._list(self._prefix) for name in page.get("prefixes", ()))
        return sorted(name[len(self._prefix) : -1] for name in prefixes)

    def files(self, folder: str) -> list[str]:
        """Return the names of the objects in a folder; an empty list if it does not exist."""
        prefix = f"{self._prefix}{folder}/"
        objects = (found for page in self._list(prefix) for found in page.get("items", ()))
        return sorted(found["name"][len(prefix) :] for found in objects)

    def has(self, path: str) -> bool:
        """Return whether the object exists."""
        return self._api.request("GET", self._url(path), allowed=(404,)).status_code != 404

    def remove(self, name: str) -> None:
        """Do nothing: only backups call this method, and their role may not delete objects."""

    def remove_file(self, path: str) -> None:
        """Delete the object, if it exists."""
        self._api.request("DELETE", self._url(path), allowed=(404,))

    def read(self, path: str) -> Content | None:
        """Return a small object; None if it does not exist."""
        response = self._api.request(
            "GET", self._url(path), params={"alt": "media"}, allowed=(404,)
        )
        if response.status_code == 404:
            return None
        return Content(response.content, response.headers["x-goog-generation"])

    def replace(self, path: str, data: bytes, generation: str | None) -> str:
        """Replace a small object if `generation` is still current; return the new generation."""
        response = self._api.request(
            "POST",
            self._uploads,
            params={
                "uploadType": "media",
                "name": self._prefix + path,
                "ifGenerationMatch": generation or "0",
            },
            headers={"Content-Type": "application/json"},
            data=data,
            allowed=(_CHANGED,),
        )
        if response.status_code != _CHANGED:
            return str(response.json()["generation"])
        # If the response to a successful request was lost, the retry is rejected, although the
        # object has the new data.
        written = self.read(path)
        if written is None or written.data != data:
            raise changed_meanwhile(f"{self._location}/{path}")
        return written.generation

    def list_tree(self, folder: str, *, former: bool = False) -> Iterator[StoredFile]:
        """Yield the objects whose names begin with the folder's name, each once."""
        last = ""
        for found in self._generations(f"{self._prefix}{folder}/", former=former):
            if found["name"] != last:
                last = found["name"]
                path, written_at = last[len(self._prefix) :], found["updated"]
                yield StoredFile(path, int(found["size"]), datetime.fromisoformat(written_at))

    def purge(self, path: str) -> None:
        """Delete every generation of the object."""
        name = self._prefix + path
        for found in list(self._generations(name, former=True)):
            if found["name"] == name:
                generation = {"generation": found["generation"]}
                self._api.request("DELETE", self._url(path), params=generation, allowed=(404,))

    def _generations(self, prefix: str, *, former: bool) -> Iterator[dict[str, Any]]:
        """Yield the objects under a prefix; with `former`, also their former generations."""
        params = {"prefix": prefix, "versions": str(former).lower()}
        for page in self._pages(params):
            yield from page.get("items", ())

    def send_part(self, url: str, data: bytes, content_range: str) -> requests.Response | None:
        """Send a part of an upload, or only the upload's total size (`bytes */N`).

        Return None if there is no response.
        """
        allowed = (_UNFINISHED, *retries.TRANSIENT)
        headers = {"Content-Range": content_range}
        try:
            return self._api.request(
                "PUT", url, attempts=1, allowed=allowed, data=data, headers=headers
            )
        except StorageUnavailable:
            return None

    def upload_state(self, url: str) -> requests.Response:
        """Return the response that says which bytes of an upload have arrived."""
        headers = {"Content-Range": "bytes */*"}
        return self._api.request("PUT", url, allowed=(_UNFINISHED,), headers=headers)

    def _list(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield the pages of the objects and folders directly under the prefix."""
        yield from self._pages({"prefix": prefix, "delimiter": "/"})

    def _pages(self, params: dict[str, str]) -> Iterator[dict[str, Any]]:
        while True:
            page = self._api.request("GET", self._objects, params=params).json()
            yield page
            if "nextPageToken" not in page:
                return
            params["pageToken"] = page["nextPageToken"]

    def _url(self, path: str) -> str:
        return f"{self._objects}/{quote(self._prefix + path, safe='')}"


class _Upload:
    """An upload of one object, a chunk per request; bytes that did not arrive are sent again."""

    def __init__(self, bucket: Bucket, url: str) -> None:
        self._bucket, self.url = bucket, url
        self._buffer, self._sent = bytearray(), 0

    def write(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) > _CHUNK:  # not >=, so that bytes are left for the last request
            self._send(_CHUNK, total=None)

    def finish(self) -> None:
        """Send the remaining bytes, which completes the object."""
        self._send(len(self._buffer), total=self._sent + len(self._buffer))

    def _send(self, size: int, total: int | None) -> None:
        end, attempt = self._sent + size, 0
        while attempt < retries.ATTEMPTS:  # counts attempts without progress
            before = self._sent
            part = bytes(self._buffer[: end - self._sent])
            span = f"{self._sent}-{end - 1}" if part else "*"
            size_of_all = "*" if total is None else total
            response = self._bucket.send_part(self.url, part, f"bytes {span}/{size_of_all}")
            if response is None or response.status_code in retries.TRANSIENT:
                retries.pause(attempt, response)
                response = self._bucket.upload_state(self.url)
            if response.status_code != _UNFINISHED:
                self._buffer.clear()
                return
            self._advance(response.headers.get("Range"))
            if self._sent == end and total is None:
                return
            attempt = 0 if self._sent > before else attempt + 1
        raise StorageUnavailable(f"an upload stalled after {self._sent} bytes; try again")

    def _advance(self, header: str | None) -> None:
        """Drop the bytes that the header `bytes=0-…` confirms; a missing header confirms none."""
        arrived = int(header.rpartition("-")[2]) + 1 if header else 0
        if arrived < self._sent:  # the buffer no longer has the missing bytes
            raise StorageUnavailable(
                f"the bucket lost bytes of an upload and has only {arrived} left; try again"
            )
        del self._buffer[: arrived - self._sent]
        self._sent = arrived
