"""The planned buckets: when an export is deleted, and who reads what of the archive."""

from progress.archive import manifests
from progress.operations.export_files import LIFETIME
from tests.support.terraform_state import Resources


def test_exported_files_are_deleted_when_their_links_have_ended(prod: Resources) -> None:
    (rule,) = prod.one("google_storage_bucket", "exports")["lifecycle_rule"]
    assert rule["condition"][0]["age"] == LIFETIME.days


def test_readers_of_the_archive_cannot_read_the_key_of_the_erasure_ledger(prod: Resources) -> None:
    archive = prod["google_storage_bucket.archive"]["name"]
    objects = f"projects/_/buckets/{archive}/objects"
    ranges, rebuilds = (
        f"resource.name.startsWith('{objects}/{folder}/')"
        for folder in (manifests.FOLDER, manifests.REBUILDS)
    )
    whole = f"resource.name == '{objects}/{manifests.NAME}' || {ranges} || {rebuilds}"
    assert {
        condition["expression"]
        for grant in prod.of("google_storage_bucket_iam_member").values()
        if "rebuild@" in grant["member"]
        for condition in grant["condition"] or [{"expression": grant["role"]}]
    } == {whole, rebuilds, "roles/storage.legacyBucketReader"}  # the last lists names
