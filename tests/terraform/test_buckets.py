"""The planned buckets: where learners' data are, for how long, and who reads the archive."""

from typing import Any

import pytest

from progress.adapters import storage
from progress.archive import manifests
from progress.operations.export_files import LIFETIME
from tests.support.cloud_storage import Bucket
from tests.support.terraform import ENVIRONMENTS
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Resources, Values


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_buckets_are_in_the_region(environments: Environments, environment: str) -> None:
    for bucket in environments[environment].applied.of("google_storage_bucket").values():
        assert bucket["location"] == "europe-west1"


# How long an object that holds learners' data can be restored, in days; None: until an erasure
# deletes it. A lifetime has a day more than the bucket's settings, because Cloud Storage deletes
# expired objects with a delay.
LIFETIMES = {
    "archive": None,
    "backup": 7 + 7 + 1,  # of a move; deleted after a week, and restorable for another week
    "exports": LIFETIME.days + 1,
}


def as_google_answers(bucket: Values) -> dict[str, Any]:
    """Return the settings that Cloud Storage shows of a planned bucket."""
    answer: dict[str, Any] = {"kind": "storage#bucket"}
    if policies := bucket["soft_delete_policy"]:
        seconds = int(policies[0]["retention_duration_seconds"])
        answer["softDeletePolicy"] = {"retentionDurationSeconds": str(seconds)}
    else:
        answer["softDeletePolicy"] = {"retentionDurationSeconds": "604800"}  # Google's default
    conditions = {"age": "age", "days_since_noncurrent_time": "daysSinceNoncurrentTime"}
    conditions |= {"matches_prefix": "matchesPrefix"}
    answer["lifecycle"] = {
        "rule": [
            {
                "action": {
                    "type": rule["action"][0]["type"],
                    "storageClass": rule["action"][0]["storage_class"],
                },
                "condition": {
                    theirs: rule["condition"][0][ours]
                    for ours, theirs in conditions.items()
                    if rule["condition"][0].get(ours)
                },
            }
            for rule in bucket["lifecycle_rule"]
        ]
    }
    return answer


def test_the_lifetime_of_all_learners_data_in_buckets_is_known(
    prod: Resources, bucket: Bucket
) -> None:
    """The receipt of an erasure reads the lifetime of the backups in the same way."""
    planned = {
        address.removeprefix("google_storage_bucket.").partition("[")[0]: values
        for address, values in prod.items()
        if address.startswith("google_storage_bucket.")
    }
    assert planned.keys() == LIFETIMES.keys()
    for name, days in LIFETIMES.items():
        bucket.settings = as_google_answers(planned[name])
        lifetime = storage.open_storage(f"gs://{name}").lifetime()
        assert (lifetime and lifetime.days) == days, name


@pytest.mark.parametrize("name", ["archive", "exports"])
def test_what_an_erasure_deletes_cannot_be_restored(prod: Resources, name: str) -> None:
    """An erasure deletes all generations of a file; a soft delete would keep them for a week."""
    (bucket,) = prod.of("google_storage_bucket", name).values()
    assert bucket["soft_delete_policy"][0]["retention_duration_seconds"] == 0


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
