"""The planned BigQuery views of the archive, and the accounts that may query these views."""

import json
import re

import pytest

from progress.adapters.postgres import statements
from progress.analysis.questions import FEWEST_LEARNERS
from tests.support.cloud_run import only
from tests.support.terraform_state import Deployment, Resources, Values

pytestmark = pytest.mark.timeout(600)  # the first test waits until Terraform has created the plans

QUESTIONS = {"retention", "items", "cohorts"}


def list_tables(resources: Resources, dataset: str) -> dict[str, Values]:
    """Return the tables and views of a dataset, by name."""
    tables = resources.of("google_bigquery_table").values()
    return {table["table_id"]: table for table in tables if table["dataset_id"] == dataset}


def find_sources(view: Values) -> set[str]:
    """Return the tables that a view reads, as `dataset.table`."""
    return set(re.findall(r"`[\w-]+\.(\w+\.\w+)`", only(view["view"])["query"]))


def test_the_table_of_the_archive_has_the_columns_of_its_files(deployment: Deployment) -> None:
    archive = list_tables(deployment.applied, "progress_archive")["archive"]
    files = only(archive["external_data_configuration"])
    bucket = deployment.applied["google_storage_bucket.archive"]
    assert files["source_uris"] == [f"{bucket['url']}/ranges/*.parquet"]
    assert (files["source_format"], files["autodetect"]) == ("PARQUET", False)
    columns = {column["name"] for column in json.loads(archive["schema"])}
    written = set(re.findall(r"'(\w+)': '[A-Z]+'", statements.blocks("archive/files")["write"]))
    computed = {"bucket", "occurred_us", "created_us"}
    assert columns == written - computed | {"occurred_at", "created_at"}


def test_bigquery_reads_the_files_with_the_account_of_its_connection(
    deployment: Deployment,
) -> None:
    resources = deployment.applied
    connection = resources["google_bigquery_connection.archive"]
    archive = list_tables(resources, "progress_archive")["archive"]
    (used,) = archive["external_data_configuration"]
    assert used["connection_id"] == connection["name"]
    account = only(connection["cloud_resource"])["service_account_id"]
    for name, role in (("connection", "objectViewer"), ("connection_list", "legacyBucketReader")):
        grant = resources[f"google_storage_bucket_iam_member.{name}"]
        assert grant["member"] == f"serviceAccount:{account}"
        assert grant["bucket"] == resources["google_storage_bucket.archive"]["name"]
        assert grant["role"] == f"roles/storage.{role}"


def test_analysts_need_no_role_on_the_events_that_the_question_views_read(
    deployment: Deployment,
) -> None:
    """The question views are authorized to read the table `archive`, and they read it directly.

    The views of `progress_archive` are not authorized, so analysts cannot read the table through
    them.
    """
    resources = deployment.applied
    questions = list_tables(resources, "progress_questions")
    assert questions.keys() == QUESTIONS
    for view in questions.values():
        assert find_sources(view) == {"progress_archive.archive"}
        assert f">= {FEWEST_LEARNERS}\n" in only(view["view"])["query"]
    access = resources["google_bigquery_dataset_access.questions"]
    assert access["dataset_id"] == "progress_archive"
    (authorized,) = access["dataset"]
    assert only(authorized["dataset"])["dataset_id"] == "progress_questions"
    assert authorized["target_types"] == ["VIEWS"]


def test_each_event_of_the_archive_is_in_the_views_once(deployment: Deployment) -> None:
    views = list_tables(deployment.applied, "progress_archive")
    assert find_sources(views["accepted_events"]) == {"progress_archive.archive"}
    assert "PARTITION BY global_position" in only(views["accepted_events"]["view"])["query"]
    assert find_sources(views["learner_events"]) == {"progress_archive.accepted_events"}


def test_analysts_may_read_only_the_dataset_of_the_question_views(moving: Deployment) -> None:
    (grant,) = moving.applied.of("google_bigquery_dataset_iam_member").values()
    assert grant["member"] == "group:analysts@example.com"
    assert grant["role"] == "roles/bigquery.dataViewer"
    assert grant["dataset_id"] == "progress_questions"
