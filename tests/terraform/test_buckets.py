"""The planned buckets: where they are, what can be restored, and who reads the archive."""

import pytest

from progress.archive import manifests
from progress.operations.export_files import LIFETIME
from tests.support.terraform_state import Deployment, Resources


def test_files_and_messages_of_learners_are_in_the_region(deployment: Deployment) -> None:
    for bucket in deployment.applied.of("google_storage_bucket").values():
        assert bucket["location"] == "europe-west1"
    for topic in deployment.applied.of("google_pubsub_topic").values():  # also of dead letters
        (policy,) = topic["message_storage_policy"]
        assert policy["allowed_persistence_regions"] == ["europe-west1"]


@pytest.mark.parametrize("name", ["archive", "exports"])
def test_what_an_erasure_deletes_cannot_be_restored(prod: Resources, name: str) -> None:
    """An erasure deletes all generations of a file; a soft delete would keep them for a week."""
    (bucket,) = prod.of("google_storage_bucket", name).values()
    assert bucket["soft_delete_policy"][0]["retention_duration_seconds"] == 0


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
    accounts = ("rebuild@",)
    assert {
        (account, condition["expression"])
        for grant in prod.of("google_storage_bucket_iam_member").values()
        for account in accounts
        if grant["bucket"] == archive and account in grant["member"]
        for condition in grant["condition"] or [{"expression": grant["role"]}]
    } == {
        *(("rebuild@", whole), ("rebuild@", rebuilds)),
        *((account, "roles/storage.legacyBucketReader") for account in accounts),  # lists names
    }
