"""Objects in a bucket are complete or absent, even if requests fail."""

import time
from datetime import timedelta
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest

from progress.adapters import google_api, retries, storage
from progress.adapters.storage import bucket as adapter
from progress.adapters.storage.storage import Storage
from progress.errors import ProgressError, StorageUnavailable
from tests.support.cloud_storage import Bucket

DATA = bytes(range(256)) * (9 << 12)  # 9 MiB


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0.01)


@pytest.fixture
def remote(bucket: Bucket) -> Storage:
    return storage.open_storage("gs://b")


def write(remote: Storage, path: str, data: bytes = b"x") -> None:
    with remote.writing(path) as output:
        output.write(data)


def test_an_upload_in_parts_continues_after_an_error(bucket: Bucket) -> None:
    remote = storage.open_storage("gs://b/p")
    bucket.refusals = [503, 500, 429]
    with remote.writing("f/x") as output:
        for start in range(0, len(DATA), 99_999):
            output.write(DATA[start : start + 99_999])
    assert bucket.objects["p/f/x"] == DATA
    assert "bytes */*" in bucket.spans
    assert b"".join(remote.reading("f/x")) == DATA
    with remote.writing("f/empty"):
        pass
    assert bucket.objects["p/f/empty"] == b""
    assert remote.has("f/x")
    assert not remote.has("f/y")
    with pytest.raises(ProgressError, match="404"):
        list(remote.reading("f/y"))


def test_an_interrupted_upload_is_cancelled(bucket: Bucket) -> None:
    remote = storage.open_storage("gs://b/p")

    def write() -> None:
        with remote.writing("f/x") as output:
            output.write(bytes(9 << 20))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert bucket.cancelled == ["p/f/x"]
    assert not bucket.objects


@pytest.mark.parametrize("location", ["", "s3://b/p", "gs//b/p", "gs://"])
def test_an_invalid_storage_location_is_rejected(location: str) -> None:
    """Otherwise a backup would go to a local folder, which is lost when the container ends."""
    with pytest.raises(ProgressError, match=r"expected .*gs://bucket/prefix"):
        storage.open_storage(location)


def test_deleting_an_object_again_has_no_effect(bucket: Bucket, remote: Storage) -> None:
    write(remote, "x.zip")
    remote.remove_file("x.zip")
    remote.remove_file("x.zip")
    assert not bucket.objects


def test_an_outage_is_reported_if_the_bucket_never_accepts_an_upload(
    bucket: Bucket, remote: Storage
) -> None:
    bucket.refusals = [503] * 100
    with pytest.raises(StorageUnavailable, match="stalled"):
        write(remote, "x.zip")
    assert not bucket.objects


@pytest.mark.parametrize(
    ("size", "arrived"),
    [(9 << 20, 0), (9 << 20, 300_000), (9 << 20, 8 << 20), (1 << 20, 1 << 20)],
    ids=["nothing", "some bytes", "a whole part", "the whole object"],
)
def test_an_upload_continues_after_the_connection_is_cut(
    bucket: Bucket, remote: Storage, size: int, arrived: int
) -> None:
    bucket.cuts = [arrived]
    write(remote, "x", DATA[:size])
    assert bucket.objects["x"] == DATA[:size]
    assert "bytes */*" in bucket.spans


@pytest.mark.parametrize("fault", ["cuts", "stalls"])
def test_an_upload_over_a_slow_or_interrupted_connection_completes_as_long_as_bytes_arrive(
    bucket: Bucket, remote: Storage, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(google_api, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0)
    setattr(bucket, fault, [1 << 20] * (retries.ATTEMPTS + 2))
    with remote.writing("x") as output:
        for start in range(0, len(DATA), 1 << 20):
            output.write(DATA[start : start + (1 << 20)])
            assert isinstance(output, adapter._Upload)
            assert len(output._buffer) <= adapter._CHUNK
        assert not bucket.objects
    assert bucket.objects["x"] == DATA


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


def test_a_request_is_repeated_after_growing_pauses(bucket: Bucket, remote: Storage) -> None:
    bucket.outages = [{}] * 4
    assert not remote.has("x")
    pauses = [after - before for before, after in pairwise(bucket.requests)]
    assert len(pauses) == 4
    assert all(pause >= 0.0075 * 2**attempt for attempt, pause in enumerate(pauses))


def test_an_outage_of_the_bucket_is_reported_after_five_failed_requests(
    bucket: Bucket, remote: Storage
) -> None:
    bucket.outages = [{}] * 100
    with pytest.raises(StorageUnavailable, match="HTTP 503"):
        remote.has("x")
    assert len(bucket.requests) == 5


def test_the_next_attempt_waits_as_long_as_the_retry_after_header_asks(
    bucket: Bucket, remote: Storage
) -> None:
    date = int(time.time()) + 2
    bucket.outages = [{"Retry-After": "1"}, {"Retry-After": formatdate(date, usegmt=True)}]
    write(remote, "x")
    first, second, third = bucket.requests[:3]
    assert second - first >= 1
    assert third >= date
    assert bucket.objects["x"] == b"x"


@pytest.mark.parametrize("retry_after", ["", "soon", "-1"])
def test_an_invalid_retry_after_header_is_ignored(
    bucket: Bucket, remote: Storage, retry_after: str
) -> None:
    bucket.outages = [{"Retry-After": retry_after}]
    assert not remote.has("x")
    assert len(bucket.requests) == 2


def test_a_small_object_is_replaced_only_if_it_has_not_changed_since_it_was_read(
    bucket: Bucket,
) -> None:
    remote = storage.open_storage("gs://b/p")
    assert remote.read("m") is None
    remote.replace("m", b"one", None)
    with pytest.raises(ProgressError, match="another writer"):
        remote.replace("m", b"other", None)
    first = remote.read("m")
    assert first
    assert first.data == b"one"
    second = remote.replace("m", b"two", first.generation)
    with pytest.raises(ProgressError, match="another writer"):
        remote.replace("m", b"three", first.generation)
    remote.replace("m", b"three", second)
    assert bucket.objects == {"p/m": b"three"}


def test_a_replacement_whose_response_was_lost_succeeds(bucket: Bucket) -> None:
    remote = storage.open_storage("gs://b/p")
    bucket.lost_responses = 1
    generation = remote.replace("m", b"one", None)
    remote.replace("m", b"two", generation)
    assert bucket.objects == {"p/m": b"two"}


def test_a_purged_object_has_no_former_generations(bucket: Bucket) -> None:
    remote = storage.open_storage("gs://b/p")
    for name in ("t/a", "t/ab", "t/a", "u/c"):
        with remote.writing(name) as output:
            output.write(b"data of " + name.encode())
    remote.remove_file("t/ab")
    assert [found.path for found in remote.list_tree("t")] == ["t/a"]
    tree = list(remote.list_tree("t", former=True))
    assert [(found.path, found.bytes) for found in tree] == [("t/a", 11), ("t/ab", 12)]
    remote.purge("t/a")
    assert bucket.former["p/t/a"] == {}
    assert bucket.former["p/t/ab"]
    assert list(bucket.objects) == ["p/u/c"]
    remote.purge("t/a")


def test_a_small_file_in_a_folder_is_replaced_only_if_it_has_not_changed_since_it_was_read(
    tmp_path: Path,
) -> None:
    folder = storage.open_storage(str(tmp_path / "f"))
    assert folder.read("m") is None
    folder.replace("m", b"one", None)
    first = folder.read("m")
    assert first
    second = folder.replace("m", b"two", first.generation)
    for generation in (None, first.generation):
        with pytest.raises(ProgressError, match="another writer"):
            folder.replace("m", b"three", generation)
    folder.replace("m", b"three", second)
    with folder.writing("t/u/x") as output:
        output.write(b"abc")
    assert [(found.path, found.bytes) for found in folder.list_tree("t")] == [("t/u/x", 3)]
    folder.purge("t/u/x")
    assert not (tmp_path / "f/t/u").exists()
    assert list(folder.list_tree("t")) == []


def expire(**condition: object) -> dict[str, object]:
    return {"action": {"type": "Delete"}, "condition": condition}


COLDER = {
    "action": {"type": "SetStorageClass", "storageClass": "NEARLINE"},
    "condition": {"age": 1},
}


@pytest.mark.parametrize(
    ("rules", "soft_delete_s", "days"),
    [
        ([expire(age=7)], None, 15),  # Google's default soft delete: a week
        ([expire(age=7)], 0, 8),
        ([expire(age=30), expire(age=7), COLDER], 86_400, 9),
        ([expire(age=7, matchesPrefix=["temp/"])], 0, None),
        ([COLDER], 0, None),
        ([], None, None),
    ],
)
def test_objects_can_be_restored_until_the_soft_delete_after_their_expiry_has_ended(
    bucket: Bucket, remote: Storage, rules: object, soft_delete_s: int | None, days: int | None
) -> None:
    """The lifetime has a day more, because Cloud Storage deletes expired objects with a delay."""
    bucket.settings["lifecycle"] = {"rule": rules}
    if soft_delete_s is not None:
        bucket.settings["softDeletePolicy"] = {"retentionDurationSeconds": str(soft_delete_s)}
    assert remote.lifetime() == (days and timedelta(days=days))


def test_a_bucket_without_the_permission_to_read_its_settings_is_an_error(
    bucket: Bucket, remote: Storage
) -> None:
    bucket.outages, bucket.outage_status = [{}], 403
    with pytest.raises(ProgressError, match="403"):
        remote.lifetime()
