"""The planned buckets: when an export is deleted, and who reads what of the archive."""

import pytest

from progress.archive import catalogue
from progress.operations.export_files import LIFETIME
from tests.support import alert_policies
from tests.support.cloud_run import plain_settings
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Resources


def test_exported_files_are_deleted_when_their_links_have_ended(prod: Resources) -> None:
    (rule,) = prod.one("google_storage_bucket", "exports")["lifecycle_rule"]
    assert rule["condition"][0]["age"] == LIFETIME.days


def test_readers_of_the_archive_cannot_read_the_key_of_the_erasure_ledger(prod: Resources) -> None:
    archive = prod["google_storage_bucket.archive"]["name"]
    objects = f"projects/_/buckets/{archive}/objects"
    ranges, rebuilds = (
        f"resource.name.startsWith('{objects}/{folder}/')"
        for folder in (catalogue.FOLDER, catalogue.REBUILDS)
    )
    whole = f"{ranges} || {rebuilds}"
    assert {
        condition["expression"]
        for grant in prod.of("google_storage_bucket_iam_member").values()
        if "rebuild@" in grant["member"]
        for condition in grant["condition"] or [{"expression": grant["role"]}]
    } == {whole, rebuilds, "roles/storage.legacyBucketReader"}  # the last lists names


@pytest.mark.exhaustive  # plans one more environment
def test_with_a_second_place_cloud_sql_is_dumped_daily_and_a_missing_dump_fires(
    environments: Environments,
) -> None:
    """Terraform neither makes the other's bucket nor changes who may use it."""
    copied = environments.variant("copied", "staging", "-var=dump_copy=their-copies").applied
    assert {*copied} - {*environments["staging"].applied} == {
        f'google_cloud_{made}["dump"]'
        for made in ("scheduler_job.run", "run_v2_job_iam_member.scheduler")
    }
    schedule = copied.of("google_cloud_scheduler_job", "run")["dump"]
    assert schedule["http_target"][0]["uri"].endswith("/jobs/progress-backup:run")
    assert "progress-backup" in alert_policies.alerts(copied)["batch-job"].query
    for part in ("backup", "project", "release"):
        places = plain_settings(copied, part)
        assert places["DUMP_TO"] == "gs://progress-staging-progress-backup/log"
        assert places["DUMP_COPY_TO"] == "gs://their-copies/progress-staging"
