"""A folder and a bucket keep the same promises; an upload survives the faults of its connection."""

import time
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest

from progress.adapters import google_api, retries, storage
from progress.adapters.storage import bucket as adapter
from progress.adapters.storage.storage import Folder, Storage
from progress.errors import ProgressError, StorageUnavailable
from tests.support.cloud_storage import Bucket

DATA = bytes(range(256)) * (9 << 12)  # 9 MiB


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0.01)


@pytest.fixture
def remote(bucket: Bucket) -> Storage:
    return storage.open_storage("gs://b")


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
    assert (tree, place.has("u/c")) == (former, True)


@pytest.mark.parametrize("location", ["", "s3://b/p", "gs//b/p", "gs://"])
def test_an_invalid_storage_location_is_rejected(location: str) -> None:
    """Otherwise a backup would go to a local folder, which is lost when the container ends."""
    with pytest.raises(ProgressError, match=r"expected .*gs://bucket/prefix"):
        storage.open_storage(location)


@pytest.mark.parametrize(
    ("size", "arrived"),
    [(9 << 20, 0), (9 << 20, 300_000), (9 << 20, 8 << 20), (1 << 20, 1 << 20)],
    ids=["nothing", "some bytes", "a whole part", "the whole object"],
)
def test_an_upload_continues_after_the_connection_is_cut(
    bucket: Bucket, remote: Storage, size: int, arrived: int
) -> None:
    bucket.cuts = [arrived]
    remote.write("x", DATA[:size])
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


@pytest.mark.parametrize(
    ("refusals", "error", "why"),
    [
        ([503, 500, 429], None, ""),
        ([503] * 100, StorageUnavailable, "stalled"),
        ([403] * 100, ProgressError, "HTTP 403"),
    ],
)
def test_an_upload_goes_on_after_refusals_that_pass(
    bucket: Bucket, remote: Storage, refusals: list[int], error: type[Exception] | None, why: str
) -> None:
    bucket.refusals = refusals
    if error:
        with pytest.raises(error, match=why) as raised:
            remote.write("x", DATA)
        assert (raised.type, bucket.objects) == (error, {})
    else:
        remote.write("x", DATA)
        assert bucket.objects["x"] == DATA
        assert "bytes */*" in bucket.spans


def test_a_request_is_sent_five_times_with_growing_pauses(
    bucket: Bucket, remote: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=pauses.append))
    bucket.outages = [{}] * 100
    with pytest.raises(StorageUnavailable, match="HTTP 503"):
        remote.has("x")
    assert len(bucket.requests) == 5
    assert all(pause >= 0.0075 * 2**attempt for attempt, pause in enumerate(pauses))


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


def test_the_next_attempt_waits_as_long_as_the_retry_after_header_asks(
    bucket: Bucket, remote: Storage
) -> None:
    date = int(time.time()) + 2
    bucket.outages = [{"Retry-After": "1"}, {"Retry-After": formatdate(date, usegmt=True)}]
    remote.write("x", b"x")
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


def test_a_replacement_whose_response_was_lost_succeeds(bucket: Bucket) -> None:
    remote = storage.open_storage("gs://b/p")
    bucket.lost_responses = 1
    generation = remote.replace("m", b"one", None)
    remote.replace("m", b"two", generation)
    assert bucket.objects == {"p/m": b"two"}


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
