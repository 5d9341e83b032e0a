"""A Cloud Storage bucket, used with the library google-cloud-storage.

The parts of an upload are the exception. After a failure, the library sends a whole part again, and
it does not cancel the upload of a writer that failed.
"""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import requests
from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption

from progress import settings
from progress.adapters import google_api, retries
from progress.adapters.google_api import GoogleApi
from progress.adapters.storage.storage import (
    Content,
    Output,
    Storage,
    StoredFile,
    changed_meanwhile,
)
from progress.errors import ProgressError, StorageUnavailable

_CHUNK = 8 << 20  # bytes per uploading request; must be a multiple of 256 KiB
_READ = 4 << 20  # bytes per reading request
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_FAILURES = (GoogleAPICallError, *google_api.FAILURES)
_UNFINISHED = 308
# Cloud Storage deletes expired objects in the background, and does not promise when.
_DELETION_DELAY = timedelta(days=1)


class Bucket(Storage):
    """A bucket at `gs://bucket/prefix`, whose lifecycle rules remove unfinished uploads."""

    def __init__(self, location: str) -> None:
        name, _, prefix = location.removeprefix("gs://").partition("/")
        if not name:
            raise ProgressError(f"{location}: expected gs://bucket/prefix")
        self._location, self._prefix = location.rstrip("/"), f"{prefix.strip('/')}/".lstrip("/")
        self._bucket = _open_client().bucket(name)
        # An upload's URL needs no access token.
        self._uploads = GoogleApi(self._location)

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Output]:
        """Write an object by a resumable upload; the object exists only once it is complete."""
        with self._translate_errors():
            url = self._blob(path).create_resumable_upload_session(
                content_type="application/octet-stream", **_limits()
            )
        upload = _Upload(self._uploads, url)
        try:
            yield upload
            upload.finish()
        except BaseException:
            upload.cancel()
            raise

    def reading(self, path: str) -> Iterator[bytes]:
        """Yield the object's bytes, 4 MiB at a time, all of the same generation."""
        blob = self._blob(path)
        with self._translate_errors():
            blob.reload(**_limits())  # sets the generation
            size = blob.size
            for begin in range(0, size, _READ):
                end = min(begin + _READ, size) - 1
                yield blob.download_as_bytes(start=begin, end=end, checksum=None, **_limits())

    def folders(self) -> list[str]:
        """Return the names of the folders: the common prefixes of the objects' names."""
        with self._translate_errors():
            objects = self._bucket.list_blobs(prefix=self._prefix, delimiter="/", **_limits())
            for _ in objects.pages:  # each page adds its prefixes
                pass
        return sorted(name[len(self._prefix) : -1] for name in objects.prefixes)

    def files(self, folder: str) -> list[str]:
        prefix = f"{self._prefix}{folder}/"
        with self._translate_errors():
            objects = self._bucket.list_blobs(prefix=prefix, delimiter="/", **_limits())
            return sorted(found.name[len(prefix) :] for found in objects)

    def has(self, path: str) -> bool:
        with self._translate_errors():
            return bool(self._blob(path).exists(**_limits()))

    def remove(self, name: str) -> None:
        for found in list(self.list_tree(name)):
            self.purge(found.path)

    def remove_file(self, path: str) -> None:
        self._delete(self._blob(path))

    def read(self, path: str) -> Content | None:
        blob = self._blob(path)
        with self._translate_errors():
            try:
                data = blob.download_as_bytes(**_limits())
            except NotFound:
                return None
            except DataCorruption:
                raise StorageUnavailable(
                    f"{self._location}/{path}: the data that arrived does not have the object's "
                    "checksum; try again"
                ) from None
        return Content(data, str(blob.generation))

    def replace(self, path: str, data: bytes, generation: str | None) -> str:
        blob, current = self._blob(path), int(generation or 0)
        with self._translate_errors():
            try:
                blob.upload_from_string(
                    data, "application/json", if_generation_match=current, **_limits()
                )
            except PreconditionFailed:
                # If the response to a successful request was lost, the retry is rejected, although
                # the object has the new data.
                written = self.read(path)
                if written is None or written.data != data:
                    raise changed_meanwhile(f"{self._location}/{path}") from None
                return written.generation
        return str(blob.generation)

    def list_tree(self, folder: str, *, former: bool = False) -> Iterator[StoredFile]:
        """Yield the objects whose names begin with the folder's name, each once."""
        last = ""
        for found in self._generations(f"{self._prefix}{folder}/", former=former):
            if found.name != last:
                last = found.name
                yield StoredFile(last[len(self._prefix) :], found.size, found.updated)

    def purge(self, path: str) -> None:
        name = self._prefix + path
        for found in list(self._generations(name, former=True)):
            if found.name == name:
                self._delete(found)

    def lifetime(self) -> timedelta | None:
        """Return the time after which no object can be restored, by the bucket's settings.

        A lifecycle rule deletes the objects by their age. A deleted object can be restored until
        the bucket's soft delete ends.
        """
        with self._translate_errors():
            self._bucket.reload(**_limits())
        conditions = [
            rule["condition"]
            for rule in self._bucket.lifecycle_rules
            if rule["action"]["type"] == "Delete"
        ]
        # A rule with a further condition does not delete all objects.
        ages = [condition["age"] for condition in conditions if condition.keys() == {"age"}]
        if not ages:
            return None
        restorable_s = self._bucket.soft_delete_policy.retention_duration_seconds or 0
        return timedelta(days=min(ages), seconds=restorable_s) + _DELETION_DELAY

    def _generations(self, prefix: str, *, former: bool) -> Iterator[Blob]:
        """Yield the objects under a prefix; with `former`, also their former generations."""
        with self._translate_errors():
            yield from self._bucket.list_blobs(prefix=prefix, versions=former, **_limits())

    def _delete(self, blob: Blob) -> None:
        """Delete the blob's generation, or the current one if the blob has none."""
        with self._translate_errors(), contextlib.suppress(NotFound):
            blob.delete(**_limits())

    def _blob(self, path: str) -> Blob:
        return self._bucket.blob(self._prefix + path)

    def _translate_errors(self) -> AbstractContextManager[None]:
        return google_api.translate_errors(self._location, _FAILURES)


def _open_client() -> Client:
    # Otherwise, a thread of the client would request the bucket's metadata, for traces.
    settings.fill_in(DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA="true")
    if emulator := settings.current().storage_emulator_host:
        options = {"api_endpoint": emulator}
        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call] # it ships no types
        return Client(None, anonymous, client_options=options)
    return Client(None, google_api.find_credentials(_SCOPE))


def _limits() -> dict[str, Any]:
    """Return the limits of each request. The library's own ones ignore Retry-After."""
    return {"timeout": google_api.TIMEOUT_S, "retry": retries.repeat}


class _Upload:
    """An upload of one object, a chunk per request; bytes that did not arrive are sent again."""

    def __init__(self, api: GoogleApi, url: str) -> None:
        self._api, self._url = api, url
        self._buffer, self._sent = bytearray(), 0

    def write(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) > _CHUNK:  # not >=, so that bytes are left for the last request
            self._send(_CHUNK, total=None)

    def finish(self) -> None:
        """Send the remaining bytes, which completes the object."""
        self._send(len(self._buffer), total=self._sent + len(self._buffer))

    def cancel(self) -> None:
        """Drop the upload, if the bucket responds."""
        with contextlib.suppress(ProgressError):
            self._api.request("DELETE", self._url, attempts=1, allowed=(499, 404))

    def _send(self, size: int, total: int | None) -> None:
        end, attempt = self._sent + size, 0
        while attempt < retries.ATTEMPTS:  # counts attempts without progress
            before = self._sent
            with memoryview(self._buffer) as view:  # a slice of the buffer would be another copy
                part = bytes(view[: end - self._sent])
            span = f"{self._sent}-{end - 1}" if part else "*"
            response = self._send_part(part, f"bytes {span}/{'*' if total is None else total}")
            if response is None or response.status_code in retries.TRANSIENT:
                retries.pause(attempt, response)
                response = self._read_state()
            if response.status_code != _UNFINISHED:
                self._buffer.clear()
                return
            self._advance(response.headers.get("Range"))
            if self._sent == end and total is None:
                return
            attempt = 0 if self._sent > before else attempt + 1
        raise StorageUnavailable(f"an upload stalled after {self._sent} bytes; try again")

    def _send_part(self, data: bytes, content_range: str) -> requests.Response | None:
        """Send a part, or only the upload's total size (`bytes */N`); None without a response."""
        headers, allowed = {"Content-Range": content_range}, retries.TRANSIENT
        try:
            return self._api.request(
                "PUT", self._url, attempts=1, allowed=allowed, data=data, headers=headers
            )
        except StorageUnavailable:
            return None

    def _read_state(self) -> requests.Response:
        """Return the response that says which bytes of the upload have arrived."""
        return self._api.request("PUT", self._url, headers={"Content-Range": "bytes */*"})

    def _advance(self, header: str | None) -> None:
        """Drop the bytes that the header `bytes=0-…` confirms; a missing header confirms none."""
        arrived = int(header.rpartition("-")[2]) + 1 if header else 0
        if arrived < self._sent:  # the buffer no longer has the missing bytes
            raise StorageUnavailable(
                f"the bucket lost bytes of an upload and has only {arrived} left; try again"
            )
        del self._buffer[: arrived - self._sent]
        self._sent = arrived
