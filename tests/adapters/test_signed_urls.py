"""Signed URLs: the canonical request is signed, and errors of the signer count as outages."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google.auth
import google.auth.iam
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

from progress.adapters.storage import signed_urls
from progress.adapters.storage.signed_urls import Signer
from progress.errors import ProgressError, StorageUnavailable

ACCOUNT = "progress-query@project.iam.gserviceaccount.com"


class Key(google.auth.iam.Signer):
    """A key that signs in the place of the IAM API."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public = self._key.public_key()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, padding.PKCS1v15(), SHA256())


def sign(signer: Signer) -> str:
    """Return the signed URL of an object whose name needs quoting."""
    return signed_urls.sign(
        "bucket", "a folder/é.zip", file="progress-2026-03-29.zip",
        expires_at=datetime.now(UTC) + timedelta(minutes=10), signer=signer,
    )  # fmt: skip


def test_the_signature_covers_method_and_object_and_file_name_and_expiry() -> None:
    key, before = Key(), datetime.now(UTC).replace(microsecond=0)
    url = sign(Signer(ACCOUNT, key))
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "storage.googleapis.com")
    assert unquote(parts.path) == "/bucket/a folder/é.zip"
    query, _, signature = parts.query.rpartition("&X-Goog-Signature=")
    values = {name: value for name, (value,) in parse_qs(query).items()}
    moment = values.pop("X-Goog-Date")
    assert before <= datetime.strptime(f"{moment}+0000", "%Y%m%dT%H%M%SZ%z") <= datetime.now(UTC)
    assert 0 < int(values.pop("X-Goog-Expires")) <= 600
    scope = f"{moment[:8]}/auto/storage/goog4_request"
    assert values == {
        "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
        "X-Goog-Credential": f"{ACCOUNT}/{scope}",
        "X-Goog-SignedHeaders": "host",
        "response-content-disposition": 'attachment; filename="progress-2026-03-29.zip"',
    }
    canonical = (
        f"GET\n/bucket/a%20folder/%C3%A9.zip\n{query}\n"
        "host:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD"
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"GOOG4-RSA-SHA256\n{moment}\n{scope}\n{digest}"
    key.public.verify(bytes.fromhex(signature), text.encode(), padding.PKCS1v15(), SHA256())


class Credentials:
    """Credentials that name their service account only after `refresh`."""

    service_account_email = "default"

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def refresh(self, _: object) -> None:
        """Set the account's name, or fail."""
        if self._error:
            raise self._error
        self.service_account_email = ACCOUNT


def use(monkeypatch: pytest.MonkeyPatch, credentials: object) -> None:
    """Make Google's libraries find these credentials."""
    monkeypatch.setattr(google.auth, "default", lambda **_: (credentials, None))


def test_the_iam_api_signs_on_behalf_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    class FakeIam:
        def __init__(self, _: object, credentials: Credentials, account: str) -> None:
            self._account = account

        def sign(self, data: bytes) -> bytes:
            return self._account.encode() + hashlib.sha256(data).digest()

    use(monkeypatch, Credentials())
    monkeypatch.setattr(google.auth.iam, "Signer", FakeIam)
    signer = signed_urls.load_signer()
    assert signer.signer_email == ACCOUNT
    assert sign(signer).rpartition("=")[2].startswith(ACCOUNT.encode().hex())


@pytest.mark.parametrize("error_type", [RefreshError, TransportError])
def test_an_outage_is_reported_if_the_iam_api_does_not_respond(
    monkeypatch: pytest.MonkeyPatch, error_type: type[Exception]
) -> None:
    error = error_type("no route")

    class FailingIam:
        def __init__(self, *_: object) -> None:
            pass

        def sign(self, data: bytes) -> bytes:
            raise error

    use(monkeypatch, Credentials())
    monkeypatch.setattr(google.auth.iam, "Signer", FailingIam)
    with pytest.raises(StorageUnavailable, match="did not sign the URL: no"):
        sign(signed_urls.load_signer())
    use(monkeypatch, Credentials(error))
    with pytest.raises(StorageUnavailable, match="did not sign the URL: no"):
        signed_urls.load_signer()


def test_credentials_that_cannot_sign_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    class UserCredentials:
        def refresh(self, _: object) -> None:
            pass

    def fail(**_: Any) -> None:
        raise DefaultCredentialsError("none")  # type: ignore[no-untyped-call] # it ships no types

    use(monkeypatch, UserCredentials())
    with pytest.raises(ProgressError, match="only a service account"):
        signed_urls.load_signer()
    monkeypatch.setattr(google.auth, "default", fail)
    with pytest.raises(ProgressError, match="no credentials"):
        signed_urls.load_signer()
