"""Objects in a bucket are complete or absent, even if requests fail."""

import pytest

from progress.adapters.storage import storage
from progress.errors import ProgressError, StorageUnavailable
from tests.support import cloud_storage
from tests.support.cloud_storage import bucket

__all__ = ["bucket"]


def test_an_upload_in_parts_continues_after_an_error(bucket: cloud_storage.Bucket) -> None:
    remote = storage.open_storage("gs://b/p")
    data = bytes(range(256)) * (9 << 12)  # 9 MiB
    bucket.refusals = [503, 500]
    with remote.writing("f/x") as output:
        for start in range(0, len(data), 99_999):
            output.write(data[start : start + 99_999])
    assert bucket.objects["p/f/x"] == data
    assert "bytes */*" in bucket.spans
    assert b"".join(remote.reading("f/x")) == data
    with remote.writing("f/empty"):
        pass
    assert bucket.objects["p/f/empty"] == b""
    assert remote.has("f/x")
    assert not remote.has("f/y")
    with pytest.raises(ProgressError, match="404"):
        list(remote.reading("f/y"))


def test_an_interrupted_upload_is_cancelled(bucket: cloud_storage.Bucket) -> None:
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


def test_an_object_is_deleted_once(bucket: cloud_storage.Bucket) -> None:
    remote = storage.open_storage("gs://b")
    with remote.writing("x.zip") as output:
        output.write(b"x")
    remote.remove_file("x.zip")
    remote.remove_file("x.zip")
    assert not bucket.objects


def test_an_upload_that_the_bucket_never_accepts_is_an_outage(bucket: cloud_storage.Bucket) -> None:
    remote = storage.open_storage("gs://b")
    bucket.refusals = [503] * 100

    def write() -> None:
        with remote.writing("x.zip") as output:
            output.write(b"x")

    with pytest.raises(StorageUnavailable, match="no progress"):
        write()
    assert not bucket.objects
