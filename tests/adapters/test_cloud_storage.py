"""Faults of the connection to a bucket: each is survived, or reported; tokens are retried."""

import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import google.auth
import pytest
from google.auth import exceptions
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError

from progress import settings
from progress.adapters import google_api, retries, storage
from progress.adapters.storage.storage import PART, Storage
from progress.errors import ProgressError, StorageUnavailable
from progress.local import ports
from tests.support import cloud_storage, tls_certificates

ROOT = Path(__file__).parents[2]
DATA = bytes(range(256)) * (9 << 12)  # 9 MiB


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0)


USES: dict[str, Callable[[Storage], object]] = {
    "upload": lambda remote: remote.write("x", b"data"),
    "replace": lambda remote: remote.replace("x", b"data", None),
    "read": lambda remote: remote.read("x"),
    "reading": lambda remote: list(remote.reading("x")),
    "has": lambda remote: remote.has("x"),
    "files": lambda remote: remote.files("f"),
    "folders": lambda remote: remote.folders(),
    "list_tree": lambda remote: list(remote.list_tree("f")),
    "remove_file": lambda remote: remote.remove_file("x"),
    "purge": lambda remote: remote.purge("x"),
    "lifetime": lambda remote: remote.lifetime(),
}
each_use = pytest.mark.parametrize("use", USES.values(), ids=USES)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Storage]:
    """Open a bucket at another address."""

    def open_at(address: str) -> Storage:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        settings.current.cache_clear()
        return storage.open_storage("gs://b")

    return open_at


@each_use
def test_a_dead_server_is_an_outage(
    use: Callable[[Storage], object], elsewhere: Callable[[str], Storage]
) -> None:
    remote = elsewhere(f"http://{ports.HOST}:{ports.reserve()}")
    with pytest.raises(StorageUnavailable, match=r"gs://b does not respond: .*; try again"):
        use(remote)


@each_use
def test_a_server_that_never_responds_is_an_outage(
    use: Callable[[Storage], object],
    elsewhere: Callable[[str], Storage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(google_api, "TIMEOUT_S", 0.05)
    with socket.create_server((ports.HOST, 0)) as listener:
        remote = elsewhere(f"http://{ports.HOST}:{listener.getsockname()[1]}")
        with pytest.raises(StorageUnavailable, match=r"gs://b does not respond: .*timed out"):
            use(remote)


@pytest.mark.first_in_gate
@each_use
@pytest.mark.parametrize("status", [429, 503])
def test_each_request_is_repeated_not_before_the_time_that_the_bucket_demands(
    use: Callable[[Storage], object],
    status: int,
    bucket: cloud_storage.Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket.store("x", b"data")
    pauses: list[float] = []
    monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=pauses.append))
    bucket.outages, bucket.outage_status = [{"Retry-After": "30"}] * (retries.ATTEMPTS - 1), status
    if use is USES["replace"]:
        bucket.remove("x")
    use(storage.open_storage("gs://b"))
    assert pauses == [30] * (retries.ATTEMPTS - 1)
    bucket.outages = [{"Retry-After": "7200"}] * retries.ATTEMPTS
    with pytest.raises(StorageUnavailable, match=f"gs://b: HTTP {status}: try again"):
        use(storage.open_storage("gs://b"))
    assert pauses[retries.ATTEMPTS - 1 :] == [60] * (retries.ATTEMPTS - 1)


def test_reading_continues_after_half_a_response(bucket: cloud_storage.Bucket) -> None:
    bucket.store("x", DATA)
    remote = storage.open_storage("gs://b")
    bucket.cut_downloads = [PART, PART]
    assert b"".join(remote.reading("x")) == DATA
    assert bucket.ranges[:3] == [0, PART, 2 * PART]
    bucket.cut_downloads = [PART]
    found = remote.read("x")
    assert found is not None
    assert found.data == DATA


def test_all_parts_of_an_object_are_read_from_one_generation(bucket: cloud_storage.Bucket) -> None:
    bucket.store("x", DATA)
    parts = storage.open_storage("gs://b").reading("x")
    first = next(parts)
    bucket.store("x", DATA[::-1])
    assert first + b"".join(parts) == DATA


def test_damaged_data_is_an_outage(bucket: cloud_storage.Bucket) -> None:
    bucket.store("x", b"data")
    bucket.damaged_downloads = 1
    remote = storage.open_storage("gs://b")
    with pytest.raises(StorageUnavailable, match=r"gs://b/x: the data .* checksum; try again"):
        remote.read("x")
    found = remote.read("x")
    assert found is not None
    assert found.data == b"data"


def test_an_upload_is_complete_although_the_last_response_was_lost(
    bucket: cloud_storage.Bucket,
) -> None:
    bucket.lost_responses = 1
    USES["upload"](storage.open_storage("gs://b"))
    assert bucket.objects == {"x": b"data"}
    assert bucket.spans == ["bytes 0-3/4", "bytes */*"]
    assert not bucket.cancelled


def test_a_replacement_is_rejected_if_another_writer_came_first_and_the_response_was_lost(
    bucket: cloud_storage.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.lost_responses = 1
    overtake = SimpleNamespace(sleep=lambda _: bucket.store("x", b"other data"))
    monkeypatch.setattr(retries, "time", overtake)
    with pytest.raises(ProgressError, match="gs://b/x: another writer"):
        storage.open_storage("gs://b").replace("x", b"data", None)


def test_the_bucket_is_trusted_only_if_a_known_authority_signed_its_certificate(
    bucket: cloud_storage.Bucket,
    elsewhere: Callable[[str], Storage],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = settings.current().storage_emulator_host
    assert address is not None
    port, bucket.scheme = urlsplit(address).port, "https"
    assert port is not None
    authority, trusted = tls_certificates.Authority(), tmp_path / "trusted.pem"
    trusted.write_text(authority.pem)
    certificate = authority.certificate(tmp_path, ports.HOST)
    with tls_certificates.serve_tls(port, certificate) as tls_port:
        remote = elsewhere(f"https://{ports.HOST}:{tls_port}")
        for use in (USES["upload"], USES["read"]):
            with pytest.raises(StorageUnavailable, match="certificate verify failed"):
                use(remote)
        assert not bucket.requests
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
        USES["upload"](remote)
        assert remote.read("x") is not None


def test_missing_credentials_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise DefaultCredentialsError("none")  # type: ignore[no-untyped-call] # it ships no types

    monkeypatch.setattr(google.auth, "default", fail)
    with pytest.raises(ProgressError, match="no credentials: run `gcloud auth"):
        storage.open_storage("gs://b")


ERRORS: Any = exceptions  # the package ships no types


class Failing(Credentials):
    """Credentials for which no access token can be obtained."""

    def __init__(self, error: Exception) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # it ships no types
        self._error, self.requests = error, 0

    def refresh(self, _: object) -> None:
        self.requests += 1
        raise self._error


def caused_by_an_outage() -> Exception:
    error: Exception = ERRORS.RefreshError("no token from the metadata server")
    error.__cause__ = ERRORS.TransportError("connection refused")
    return error


def open_bucket(credentials: Failing, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Open a bucket to which no request is sent, because no access token is issued."""
    monkeypatch.setattr(google.auth, "default", lambda **_: (credentials, None))
    return storage.open_storage("gs://b")


@pytest.mark.parametrize(
    "error",
    [
        ERRORS.TransportError("connection refused"),
        ERRORS.RefreshError("internal_failure", retryable=True),
        caused_by_an_outage(),
    ],
    ids=["no response", "transient", "no response of the metadata server"],
)
def test_an_outage_of_the_token_endpoint_is_retried(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = Failing(error)
    with pytest.raises(StorageUnavailable, match="there is no access token"):
        open_bucket(credentials, monkeypatch).has("x")
    assert credentials.requests == retries.ATTEMPTS


def test_invalid_credentials_are_reported_without_another_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials = Failing(ERRORS.RefreshError("invalid_grant"))
    with pytest.raises(ProgressError, match="the credentials are invalid: invalid_grant"):
        open_bucket(credentials, monkeypatch).has("x")
    assert credentials.requests == 1
