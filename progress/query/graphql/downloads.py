"""URLs to download exported files. Anyone who has a URL may use it for ten minutes.

For a file in a bucket, the service's account signs the URL. A file in a folder is served by the
query function, under a path that contains a signature (`progress.query.http.app`). Its URL is
relative to the page's, because only clients know the scheme and the path that a proxy has.
"""

import asyncio
import base64
import functools
import hmac
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from progress.errors import StorageUnavailable
from progress.operations import export_files
from progress.operations.export_files import ExportedFile
from progress.operations.records import Operation, OperationState
from progress.settings import Settings

if TYPE_CHECKING:
    from progress.adapters.storage.signed_urls import Signer

PATH = "/exports/"

_EXPIRES_S = 600
_SIGN_TIMEOUT_S = 5.0


class Download(NamedTuple):
    """A file to fetch before `expires_at`; its URL is signed only if a request selects the URL."""

    exported: ExportedFile
    expires_at: datetime
    downloads: "Downloads"

    @property
    def bytes(self) -> int:
        return self.exported.bytes

    @property
    def sha256(self) -> str:
        return self.exported.sha256

    async def sign(self) -> str:
        """Return the URL; raise StorageUnavailable if the IAM API does not sign it."""
        return await self.downloads.sign(self)


class _Token(msgspec.Struct, frozen=True, array_like=True):
    object: str
    file: str
    expires_at: int  # seconds since 1970


class Downloads:
    """The URLs of exported files.

    When the process ends, its URLs of files in a folder become invalid, because the key that signs
    them is lost.
    """

    def __init__(self, settings: Settings) -> None:
        self.location = export_files.location(settings)
        self._key = secrets.token_bytes(32)

    def find(self, operation: Operation, at: datetime) -> Download | None:
        if not _has_file(operation, at):
            return None
        file = msgspec.json.decode(operation.result or "", type=ExportedFile)
        return Download(file, at + timedelta(seconds=_EXPIRES_S), self)

    async def sign(self, download: Download) -> str:
        """Return the URL of the file, valid until the download expires."""
        file, expires_at = download.exported, download.expires_at
        if self.location.startswith("gs://"):
            return await self._sign_in_bucket(file, expires_at)
        return f"{PATH[1:]}{self._sign_path(file, expires_at)}/{file.file}"

    def open(self, path: str, now: datetime) -> ExportedFile | None:
        """Return the file that a signed path names; None if the path is forged or has expired."""
        text, _, _ = path.removeprefix(PATH).partition("/")
        encoded, _, signature = text.partition(".")
        if not hmac.compare_digest(self._sign_text(encoded).encode(), signature.encode()):
            return None
        token = msgspec.json.decode(base64.urlsafe_b64decode(encoded), type=_Token)
        if not 0 < token.expires_at - now.timestamp() <= _EXPIRES_S:  # the clock may be set back
            return None
        return ExportedFile(token.object, token.file, bytes=0, sha256="")

    async def _sign_in_bucket(self, file: ExportedFile, expires_at: datetime) -> str:
        try:
            async with asyncio.timeout(_SIGN_TIMEOUT_S):
                return await asyncio.to_thread(self._sign_object, file, expires_at)
        except TimeoutError:
            raise StorageUnavailable("the IAM API does not respond") from None

    def _sign_object(self, file: ExportedFile, expires_at: datetime) -> str:
        from progress.adapters.storage import signed_urls  # takes 350 ms

        return signed_urls.sign(
            self.location.removeprefix("gs://"),
            file.object,
            file=file.file,
            expires_at=expires_at,
            signer=self._signer,
        )

    @functools.cached_property
    def _signer(self) -> "Signer":
        from progress.adapters.storage import signed_urls

        return signed_urls.load_signer()

    def _sign_path(self, file: ExportedFile, expires_at: datetime) -> str:
        token = _Token(file.object, file.file, int(expires_at.timestamp()))
        encoded = base64.urlsafe_b64encode(msgspec.json.encode(token)).decode()
        return f"{encoded}.{self._sign_text(encoded)}"

    def _sign_text(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()


def _has_file(operation: Operation, at: datetime) -> bool:
    """Return whether the operation has exported a file that is not yet deleted."""
    return (
        operation.kind in export_files.KINDS
        and operation.state is OperationState.SUCCEEDED
        and operation.result is not None  # an erasure deletes the file, and the result
        and at < operation.started_at + export_files.LIFETIME
    )
