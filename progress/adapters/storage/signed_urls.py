"""Signed URLs of objects in Cloud Storage.

The service has no private key, so the IAM API signs for it. The service's account must be allowed
to create tokens for itself.
"""

import contextlib
from collections.abc import Iterator
from datetime import datetime

import google.auth.iam
import google.auth.transport.requests
from google.auth.credentials import Signing
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Client

from progress.adapters import google_api
from progress.errors import ProgressError, StorageUnavailable

_HOST = "https://storage.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Signer(Signing):
    """The account of this service, in whose name the IAM API signs."""

    def __init__(self, account: str, iam: google.auth.iam.Signer) -> None:
        self._account, self._iam = account, iam

    @property
    def signer_email(self) -> str:
        return self._account

    @property
    def signer(self) -> google.auth.iam.Signer:
        return self._iam

    def sign_bytes(self, message: bytes) -> bytes:
        """Return the signature of the bytes, with RSA and SHA-256."""
        with _translate_errors():
            signature: bytes = self._iam.sign(message)
        return signature


def sign(bucket: str, name: str, *, file: str, expires_at: datetime, signer: Signer) -> str:
    """Return a URL, valid from now on, from which a browser saves the object as `file`."""
    blob = Client.create_anonymous_client().bucket(bucket).blob(name)
    url: str = blob.generate_signed_url(
        version="v4",
        expiration=expires_at,
        api_access_endpoint=_HOST,
        credentials=signer,
        response_disposition=f'attachment; filename="{file}"',
    )
    return url


def load_signer() -> Signer:
    credentials = google_api.find_credentials(_SCOPE)
    request = google.auth.transport.requests.Request()
    with _translate_errors():
        credentials.refresh(request)  # type: ignore[no-untyped-call] # fetches the account's name
    account = getattr(credentials, "service_account_email", None)
    if account is None:
        raise ProgressError("only a service account can sign URLs")
    sign = google.auth.iam.Signer(request, credentials, account)  # type: ignore[no-untyped-call] # it ships no types
    return Signer(account, sign)


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except GoogleAuthError as error:
        raise StorageUnavailable(f"the IAM API did not sign the URL: {error}") from error
