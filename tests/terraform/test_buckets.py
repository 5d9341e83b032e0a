"""The planned buckets: access, storage classes and retention."""

from typing import Any

import pytest

from progress.archive import manifests
from progress.operations.export_files import LIFETIME
from tests.support.terraform import ENVIRONMENTS
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Resources, Values


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("name", ["archive", "backup", "exports", "sources"])
def test_buckets_are_private_and_in_the_region(
    environments: Environments, environment: str, name: str
) -> None:
    bucket = environments[environment].applied[f"google_storage_bucket.{name}"]
    assert bucket["uniform_bucket_level_access"]
    assert bucket["public_access_prevention"] == "enforced"
    assert bucket["location"] == "europe-west1"


def lifecycle(bucket: Values) -> dict[str, Any]:
    return {
        rule["action"][0]["storage_class"] or rule["action"][0]["type"]: rule["condition"][0]
        for rule in bucket["lifecycle_rule"]
    }


def test_archived_events_move_to_cheaper_storage_and_are_kept(prod: Resources) -> None:
    bucket = prod["google_storage_bucket.archive"]
    steps = lifecycle(bucket)
    assert {name: step["age"] for name, step in steps.items() if name != "Delete"} == {
        "NEARLINE": 30,
        "COLDLINE": 90,
        "ARCHIVE": 365,
    }
    assert bucket["versioning"][0]["enabled"]
    assert steps["Delete"]["with_state"] == "ARCHIVED"  # a noncurrent version
    assert steps["Delete"]["days_since_noncurrent_time"] == 30


def test_the_archive_keeps_nothing_that_an_erasure_has_deleted(prod: Resources) -> None:
    """An erasure deletes all generations of a file; a soft delete would keep them for a week."""
    policy = prod["google_storage_bucket.archive"]["soft_delete_policy"]
    assert policy[0]["retention_duration_seconds"] == 0


def test_backups_are_kept_for_a_week(prod: Resources) -> None:
    steps = lifecycle(prod["google_storage_bucket.backup"])
    assert {name: step["age"] for name, step in steps.items()} == {"Delete": 7}


def test_exported_files_are_gone_after_a_week(prod: Resources) -> None:
    bucket = prod["google_storage_bucket.exports"]
    steps = lifecycle(bucket)
    assert {name: step["age"] for name, step in steps.items()} == {"Delete": LIFETIME.days}
    assert not bucket["versioning"]
    assert bucket["soft_delete_policy"][0]["retention_duration_seconds"] == 0


def test_readers_of_the_archive_cannot_read_the_key_of_the_erasure_ledger(prod: Resources) -> None:
    archive = prod["google_storage_bucket.archive"]["name"]
    objects = f"projects/_/buckets/{archive}/objects"
    ranges, rebuilds = (
        f"resource.name.startsWith('{objects}/{folder}/')"
        for folder in (manifests.FOLDER, manifests.REBUILDS)
    )
    whole = f"resource.name == '{objects}/{manifests.NAME}' || {ranges} || {rebuilds}"
    # BigQuery's connection uses the account progress-archive.
    accounts = ("rebuild@", "dataflow@", "progress-archive@")
    assert {
        (account, condition["expression"])
        for grant in prod.of("google_storage_bucket_iam_member").values()
        for account in accounts
        if grant["bucket"] == archive and account in grant["member"]
        for condition in grant["condition"] or [{"expression": grant["role"]}]
    } == {
        *(("rebuild@", whole), ("rebuild@", rebuilds), ("dataflow@", whole)),
        ("progress-archive@", ranges),
        *((account, "roles/storage.legacyBucketReader") for account in accounts),  # lists names
    }
