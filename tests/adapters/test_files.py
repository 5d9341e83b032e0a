"""The places of files: a folder and a bucket keep the same promises, and survive their faults."""

import hashlib
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google.auth
import google.auth.iam
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from google.auth import exceptions
from google.auth.credentials import Credentials

from progress import settings
from progress.adapters import google_api, retries, storage
from progress.adapters.storage import bucket as adapter
from progress.adapters.storage import signed_urls
from progress.adapters.storage.signed_urls import Signer
from progress.adapters.storage.storage import PART, Folder, Storage
from progress.errors import ProgressError, StorageUnavailable
from progress.serve import ports
from tests.support import folders, tls_certificates
from tests.support.cloud_storage import Bucket

DATA = bytes(range(256)) * (9 << 12)  # 9 MiB
ERRORS: Any = exceptions  # the package ships no types
ACCOUNT = "progress-query@project.iam.gserviceaccount.com"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0)


@pytest.fixture
def remote(bucket: Bucket) -> Storage:
    return storage.open_storage("gs://b")


@pytest.fixture
def local(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, bucket: Bucket, tmp_path: Path) -> Storage:
    del bucket  # the settings point to it
    return storage.open_storage("gs://b/p" if request.param == "bucket" else str(tmp_path / "f"))


def test_a_file_is_read_as_it_was_written_until_it_is_removed(place: Storage) -> None:
    with place.writing("f/x") as output:
        for start in range(0, len(DATA), 99_999):
            output.write(DATA[start : start + 99_999])
    place.write("f/empty", b"")
    assert (b"".join(place.reading("f/x")), b"".join(place.reading("f/empty"))) == (DATA, b"")
    assert (place.has("f/x"), place.has("f/y"), place.read("f/y")) == (True, False, None)
    assert (place.folders(), place.files("f"), place.files("g")) == (["f"], ["empty", "x"], [])
    with pytest.raises(ProgressError, match=r"404|No such file"):
        list(place.reading("f/y"))
    for _ in range(2):
        place.remove_file("f/x")
    assert place.files("f") == ["empty"]


@pytest.mark.parametrize("size", [4, 9 << 20])
def test_an_interrupted_write_leaves_nothing(place: Storage, bucket: Bucket, size: int) -> None:
    def write_half() -> None:
        with place.writing("f/x") as output:
            output.write(bytes(size))
            assert (place.files("f"), place.has("f/x")) == ([], False)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(place.list_tree("f")) == []
    assert bucket.cancelled == ([] if isinstance(place, Folder) else ["p/f/x"])


def test_a_small_file_is_replaced_only_if_it_has_not_changed_since_it_was_read(
    place: Storage,
) -> None:
    assert place.read("m") is None
    place.replace("m", b"one", None)
    first = place.read("m")
    assert first
    assert first.data == b"one"
    second = place.replace("m", b"two", first.generation)
    for generation in (None, first.generation):
        with pytest.raises(ProgressError, match="another writer"):
            place.replace("m", b"three", generation)
    place.replace("m", b"three", second)
    assert b"".join(place.reading("m")) == b"three"


def test_a_purged_file_is_gone_with_its_former_generations(place: Storage) -> None:
    for name in ("t/u/a", "t/ab", "t/u/a", "u/c"):
        place.write(name, b"data of " + name.encode())
    place.remove_file("t/ab")
    assert [(found.path, found.bytes) for found in place.list_tree("t")] == [("t/u/a", 13)]
    former = [("t/ab", 12)] if not isinstance(place, Folder) else []
    tree = [(found.path, found.bytes) for found in place.list_tree("t", former=True)]
    assert tree == [*former, ("t/u/a", 13)]
    for _ in range(2):
        place.purge("t/u/a")
    tree = [(found.path, found.bytes) for found in place.list_tree("t", former=True)]
    assert (tree, place.has("u/c"), list(place.list_tree("missing"))) == (former, True, [])


def test_an_invalid_storage_location_is_rejected() -> None:
    """Otherwise a backup would go to a local folder, which is lost when the container ends."""
    for location in ["", "s3://b/p", "gs//b/p", "gs://"]:
        with pytest.raises(ProgressError, match=r"expected .*gs://bucket/prefix"):
            storage.open_storage(location)


def test_a_written_file_and_its_new_folders_are_synced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    archive = tmp_path / "archive"
    Folder(archive).write("ranges/1/file", b"rows")
    paths = (archive / "ranges/1/file", archive / "ranges/1", archive / "ranges", archive, tmp_path)
    assert synced == [path.stat().st_ino for path in paths]


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_only_the_owner_can_access_new_files_and_folders(tmp_path: Path, mask: int) -> None:
    with folders.umask(mask):
        folder = Folder(tmp_path / "data/archive")
        folder.replace("catalog.json", b"{}", None)
        with folder.writing("ranges/1/file") as output:
            output.write(b"rows")
            assert folders.list_open_files(tmp_path / "data") == []
    assert folders.list_open_files(tmp_path / "data") == []


def test_a_file_that_disappears_while_the_files_are_listed_is_left_out(local: Folder) -> None:
    """A dangling symlink simulates this file: its name is listed, but its target does not exist."""
    for name in ("a", "b"):
        local.write(f"ranges/{name}", b"rows")
    (local._path / "ranges/between").symlink_to("renamed")
    assert [file.path for file in local.list_tree("ranges")] == ["ranges/a", "ranges/b"]


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


def open_at(address: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    settings.current.cache_clear()
    return storage.open_storage("gs://b")


@each_use
def test_a_dead_or_hanging_server_is_an_outage(
    use: Callable[[Storage], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = open_at(f"http://{ports.HOST}:{ports.reserve()}", monkeypatch)
    with pytest.raises(StorageUnavailable, match=r"gs://b does not respond: .*; try again"):
        use(remote)
    monkeypatch.setattr(google_api, "TIMEOUT_S", 0.05)
    with socket.create_server((ports.HOST, 0)) as listener:
        remote = open_at(f"http://{ports.HOST}:{listener.getsockname()[1]}", monkeypatch)
        with pytest.raises(StorageUnavailable, match=r"gs://b does not respond: .*timed out"):
            use(remote)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=made.append))
    return made


@pytest.mark.first_in_gate
@each_use
@pytest.mark.parametrize("status", [429, 503])
def test_each_request_is_repeated_not_before_the_time_that_the_bucket_demands(
    use: Callable[[Storage], object],
    status: int,
    bucket: Bucket,
    remote: Storage,
    pauses: list[float],
) -> None:
    bucket.store("x", b"data")
    bucket.outages, bucket.outage_status = [{"Retry-After": "30"}] * (retries.ATTEMPTS - 1), status
    if use is USES["replace"]:
        bucket.remove("x")
    use(remote)
    assert pauses == [30] * (retries.ATTEMPTS - 1)
    bucket.outages = [{"Retry-After": "7200"}] * retries.ATTEMPTS
    with pytest.raises(StorageUnavailable, match=f"gs://b: HTTP {status}: try again"):
        use(remote)
    assert pauses[retries.ATTEMPTS - 1 :] == [60] * (retries.ATTEMPTS - 1)


@pytest.mark.parametrize(
    "header", [{}, *({"Retry-After": invalid} for invalid in ("", "soon", "-1"))]
)
def test_the_pauses_grow_if_the_bucket_demands_no_valid_time(
    bucket: Bucket,
    remote: Storage,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    header: dict[str, str],
) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0.01)
    bucket.outages = [header] * 100
    with pytest.raises(StorageUnavailable, match="HTTP 503"):
        remote.has("x")
    assert len(bucket.requests) == 5
    assert all(1 > pause >= 0.0075 * 2**attempt for attempt, pause in enumerate(pauses))


def test_an_upload_waits_until_the_date_that_the_bucket_demands(
    bucket: Bucket, remote: Storage, pauses: list[float]
) -> None:
    bucket.outages = [{"Retry-After": formatdate(time.time() + 20, usegmt=True)}]
    remote.write("x", b"x")
    assert 15 < pauses[0] <= 20
    assert bucket.objects["x"] == b"x"


# The faults of an upload, and how many bytes it has.
_PATIENCE = retries.ATTEMPTS + 2
UPLOADS: dict[str, tuple[dict[str, Any], int]] = {
    "nothing": ({"cuts": [0]}, len(DATA)),
    "some bytes": ({"cuts": [300_000]}, len(DATA)),
    "a whole part": ({"cuts": [8 << 20]}, len(DATA)),
    "the whole object": ({"cuts": [1 << 20]}, 1 << 20),
    "a part at a time": ({"cuts": [1 << 20] * _PATIENCE}, len(DATA)),
    "stalls": ({"stalls": [1 << 20] * _PATIENCE}, len(DATA)),
    "refusals": ({"refusals": [503, 500, 429]}, len(DATA)),
    "a lost response": ({"lost_responses": 1}, 4),
}


@pytest.mark.parametrize("fault", UPLOADS)
def test_an_upload_completes_as_long_as_bytes_arrive(
    bucket: Bucket, remote: Storage, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    faults, size = UPLOADS[fault]
    vars(bucket).update(faults)
    if fault == "stalls":
        monkeypatch.setattr(google_api, "TIMEOUT_S", 0.3)
    with remote.writing("x") as output:
        for start in range(0, size, 1 << 20):
            output.write(DATA[start : min(size, start + (1 << 20))])
            assert isinstance(output, adapter._Upload)
            assert len(output._buffer) <= adapter._CHUNK
        assert not bucket.objects
    assert bucket.objects == {"x": DATA[:size]}
    assert "bytes */*" in bucket.spans
    assert not bucket.cancelled


def test_an_upload_that_the_bucket_refuses_fails_and_leaves_nothing(
    bucket: Bucket, remote: Storage
) -> None:
    for refusal, error, why in [
        (503, StorageUnavailable, "stalled"),
        (403, ProgressError, "HTTP 403"),
    ]:
        bucket.refusals = [refusal] * 100
        with pytest.raises(error, match=why) as raised:
            remote.write("x", DATA)
        assert (raised.type, bucket.objects) == (error, {})


def test_an_upload_fails_if_the_bucket_loses_confirmed_bytes(
    bucket: Bucket, remote: Storage
) -> None:
    def write() -> None:
        with remote.writing("x") as output:
            output.write(DATA)
            bucket.uploads["0"][1].clear()
            bucket.refusals = [503]

    with pytest.raises(StorageUnavailable, match="lost bytes"):
        write()
    assert not bucket.objects


def test_a_replacement_whose_response_was_lost_succeeds_unless_another_writer_came_first(
    bucket: Bucket, remote: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.lost_responses = 1
    generation = remote.replace("m", b"one", None)
    remote.replace("m", b"two", generation)
    assert bucket.objects == {"m": b"two"}
    bucket.lost_responses = 1
    overtake = SimpleNamespace(sleep=lambda _: bucket.store("x", b"other data"))
    monkeypatch.setattr(retries, "time", overtake)
    with pytest.raises(ProgressError, match="gs://b/x: another writer"):
        remote.replace("x", b"data", None)


def test_reading_continues_after_half_a_response(bucket: Bucket, remote: Storage) -> None:
    bucket.store("x", DATA)
    bucket.cut_downloads = [PART, PART]
    assert b"".join(remote.reading("x")) == DATA
    assert bucket.ranges[:3] == [0, PART, 2 * PART]
    bucket.cut_downloads = [PART]
    found = remote.read("x")
    assert found is not None
    assert found.data == DATA


def test_all_parts_of_an_object_are_read_from_one_generation(
    bucket: Bucket, remote: Storage
) -> None:
    bucket.store("x", DATA)
    parts = remote.reading("x")
    first = next(parts)
    bucket.store("x", DATA[::-1])
    assert first + b"".join(parts) == DATA


def test_damaged_data_is_an_outage(bucket: Bucket, remote: Storage) -> None:
    bucket.store("x", b"data")
    bucket.damaged_downloads = 1
    with pytest.raises(StorageUnavailable, match=r"gs://b/x: the data .* checksum; try again"):
        remote.read("x")
    found = remote.read("x")
    assert found is not None
    assert found.data == b"data"


def test_the_bucket_is_trusted_only_if_a_known_authority_signed_its_certificate(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, bucket.scheme = urlsplit(settings.current().storage_emulator_host or "").port, "https"
    assert port is not None
    authority, trusted = tls_certificates.Authority(), tmp_path / "trusted.pem"
    trusted.write_text(authority.pem)
    certificate = authority.certificate(tmp_path, ports.HOST)
    with tls_certificates.serve_tls(port, certificate) as tls_port:
        remote = open_at(f"https://{ports.HOST}:{tls_port}", monkeypatch)
        for use in (USES["upload"], USES["read"]):
            with pytest.raises(StorageUnavailable, match="certificate verify failed"):
                use(remote)
        assert not bucket.requests
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
        USES["upload"](remote)
        assert remote.read("x") is not None


def expire(**condition: object) -> dict[str, object]:
    return {"action": {"type": "Delete"}, "condition": condition}


COLDER = {
    "action": {"type": "SetStorageClass", "storageClass": "NEARLINE"},
    "condition": {"age": 1},
}


def test_objects_can_be_restored_until_the_soft_delete_after_their_expiry_has_ended(
    bucket: Bucket, remote: Storage
) -> None:
    """The lifetime has a day more, because Cloud Storage deletes expired objects with a delay."""
    for rules, soft_delete_s, days in [
        ([expire(age=7)], None, 15),  # Google's default soft delete: a week
        ([expire(age=7)], 0, 8),
        ([expire(age=30), expire(age=7), COLDER], 86_400, 9),
        ([expire(age=7, matchesPrefix=["temp/"])], 0, None),
        ([COLDER], 0, None),
        ([], None, None),
    ]:
        bucket.settings["lifecycle"] = {"rule": rules}
        if soft_delete_s is not None:
            bucket.settings["softDeletePolicy"] = {"retentionDurationSeconds": str(soft_delete_s)}
        assert remote.lifetime() == (days and timedelta(days=days))


class Account(Credentials):
    """Credentials that name their service account only after `refresh`, which may fail."""

    service_account_email = "default"

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # it ships no types
        self._error, self.requests = error, 0

    def refresh(self, _: object) -> None:
        self.requests += 1
        if self._error:
            raise self._error
        self.service_account_email = ACCOUNT


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    def use(found: object) -> None:
        def answer(**_: object) -> object:
            if isinstance(found, Exception):
                raise found
            return found, None

        monkeypatch.setattr(google.auth, "default", answer)

    return use


Find = Callable[[object], None]


def test_missing_credentials_are_reported(find: Find) -> None:
    find(ERRORS.DefaultCredentialsError("none"))
    for open_it in (lambda: storage.open_storage("gs://b"), signed_urls.load_signer):
        with pytest.raises(ProgressError, match="no credentials: run `gcloud auth"):
            open_it()


def caused_by_an_outage() -> Exception:
    error: Exception = ERRORS.RefreshError("no token from the metadata server")
    error.__cause__ = ERRORS.TransportError("connection refused")
    return error


def test_an_outage_of_the_token_endpoint_is_retried_but_invalid_credentials_are_reported(
    find: Find,
) -> None:
    for error, raised, why, attempts in [
        *(
            (error, StorageUnavailable, "there is no access token", retries.ATTEMPTS)
            for error in (
                ERRORS.TransportError("connection refused"),
                ERRORS.RefreshError("internal_failure", retryable=True),
                caused_by_an_outage(),
            )
        ),
        (ERRORS.RefreshError("invalid_grant"), ProgressError, "invalid: invalid_grant", 1),
    ]:
        credentials = Account(error)
        find(credentials)
        with pytest.raises(raised, match=why):
            storage.open_storage("gs://b").has("x")
        assert credentials.requests == attempts


class Key(google.auth.iam.Signer):
    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public = self._key.public_key()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, padding.PKCS1v15(), SHA256())


def sign(signer: Signer) -> str:
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


class FakeIam:
    error: Exception | None = None

    def __init__(self, _request: object, _credentials: object, account: str) -> None:
        self._account = account

    def sign(self, data: bytes) -> bytes:
        if self.error:
            raise self.error
        return self._account.encode() + hashlib.sha256(data).digest()


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch) -> type[FakeIam]:
    monkeypatch.setattr(google.auth.iam, "Signer", FakeIam)
    monkeypatch.setattr(FakeIam, "error", None)
    return FakeIam


def test_the_iam_api_signs_on_behalf_of_the_account(find: Find, iam: type[FakeIam]) -> None:
    find(Account())
    signer = signed_urls.load_signer()
    assert signer.signer_email == ACCOUNT
    assert sign(signer).rpartition("=")[2].startswith(ACCOUNT.encode().hex())


def test_an_outage_is_reported_if_the_iam_api_does_not_respond(
    find: Find, iam: type[FakeIam]
) -> None:
    for error_type in [ERRORS.RefreshError, ERRORS.TransportError]:
        iam.error = error_type("no route")
        find(Account())
        with pytest.raises(StorageUnavailable, match="did not sign the URL: no"):
            sign(signed_urls.load_signer())
        find(Account(iam.error))
        with pytest.raises(StorageUnavailable, match="did not sign the URL: no"):
            signed_urls.load_signer()


def test_credentials_that_cannot_sign_are_rejected(find: Find) -> None:
    find(SimpleNamespace(refresh=lambda _: None))  # of a person
    with pytest.raises(ProgressError, match="only a service account"):
        signed_urls.load_signer()
