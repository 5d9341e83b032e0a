"""Signed URLs of objects in Cloud Storage, in the format V4.

See https://cloud.google.com/storage/docs/authentication/signatures. The service has no private key,
so the IAM API signs for it. The service's account must be allowed to create tokens for itself.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

import google.auth
import google.auth.iam
import google.auth.transport.requests
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

from progress.errors import ProgressError, StorageUnavailable

_HOST = "storage.googleapis.com"
_ALGORITHM = "GOOG4-RSA-SHA256"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Signer(NamedTuple):
    """An account, and the function that signs bytes with RSA and SHA-256 in the account's name."""

    account: str
    sign: Callable[[bytes], bytes]


def sign(bucket: str, name: str, *, file: str, at: datetime, expires_s: int, signer: Signer) -> str:
    """Return a URL, valid from `at` on, from which a browser saves the object as `file`."""
    moment = at.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/auto/storage/goog4_request"
    parameters = {
        "X-Goog-Algorithm": _ALGORITHM,
        "X-Goog-Credential": f"{signer.account}/{scope}",
        "X-Goog-Date": moment,
        "X-Goog-Expires": str(expires_s),
        "X-Goog-SignedHeaders": "host",
        "response-content-disposition": f'attachment; filename="{file}"',
    }
    query = "&".join(f"{key}={quote(parameters[key], safe='')}" for key in sorted(parameters))
    path = f"/{bucket}/{quote(name)}"
    request = f"GET\n{path}\n{query}\nhost:{_HOST}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    signature = signer.sign(f"{_ALGORITHM}\n{moment}\n{scope}\n{digest}".encode()).hex()
    return f"https://{_HOST}{path}?{query}&X-Goog-Signature={signature}"


def load_signer() -> Signer:
    """Return a signer for the account of this service; signing calls the IAM API."""
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError:
        raise ProgressError("there are no credentials to sign with") from None
    request = google.auth.transport.requests.Request()
    with _translate_errors():
        credentials.refresh(request)  # type: ignore[no-untyped-call] # fetches the account's name
    account = getattr(credentials, "service_account_email", None)
    if account is None:
        raise ProgressError("only a service account can sign URLs")
    iam = google.auth.iam.Signer(request, credentials, account)  # type: ignore[no-untyped-call] # it ships no types

    def sign_bytes(data: bytes) -> bytes:
        with _translate_errors():
            signature: bytes = iam.sign(data)
        return signature

    return Signer(account, sign_bytes)


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except GoogleAuthError as error:
        raise StorageUnavailable(f"the IAM API did not sign the URL: {error}") from error
