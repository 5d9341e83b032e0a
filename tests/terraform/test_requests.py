"""Google's request schemas accept what Terraform plans."""

import copy
import json
import re
from collections import Counter
from typing import Any

import pytest

from tests.support import discovery
from tests.support.terraform import REPOSITORY, need_offline
from tests.support.terraform_environments import MIGRATION, Environments
from tests.support.terraform_state import Deployment, Resources, list_resources

# Resource types whose values are only names of other resources and roles, or that no API has.
_UNCHECKED = (
    "_iam_member", "_secret_version", "google_monitoring_dashboard", "google_project_service",
    "google_project_iam_audit_config", "google_project_default_service_accounts",
    "google_service_networking_connection", "terraform_data",
)  # fmt: skip

# A fault in prod's plan: the resource, the path of a value, the wrong value, and the finding.
_FAULTS = [
    ("google_cloud_run_v2_service", "ingress", "INTERNAL", "INTERNAL is none of"),
    ("google_monitoring_alert_policy", "severity", "FATAL", "FATAL is none of"),
    ("google_pubsub_subscription", "message_retention_duration", "604800", "does not match"),
    ("google_pubsub_subscription", "retry_policy.0.minimum_backoff", "10", "does not match"),
    ("google_cloud_run_v2_job", "template.0.template.0.max_retries", "three", "does not match"),
    ("google_compute_network", "name", "Progress", "does not match"),
    ("google_sql_database_instance", "settings.0.activation_policy", "ON_DEMAND", "is deprecated"),
    ("google_bigquery_table", "time_partitioning.0.require_partition_filter", True, "deprecated"),
    ("google_cloud_run_v2_service", "uri", "https://example.com", "only in responses"),
]  # fmt: skip


def _find_faults(resources: Resources) -> list[str]:
    return [
        f"{checked.path}: {checked.fault}"
        for kind in discovery.SCHEMAS
        for values in resources.of(kind).values()
        for checked in discovery.check(kind, values)
        if checked.fault
    ]


@pytest.fixture(scope="module")
def all_planned(
    environments: Environments, deployments: dict[str, Deployment], bootstrap: Deployment
) -> list[Resources]:
    """The plans of each root and environment, and of a migration to Cloud SQL."""
    need_offline()
    moving = environments.root().plan("dev", *MIGRATION, name="requests")
    listed = Resources(list_resources(moving["planned_values"]["root_module"]))
    return [*(made.planned for made in deployments.values()), bootstrap.planned, listed]


@pytest.mark.exhaustive
def test_no_planned_value_contradicts_the_schema_of_its_request(
    all_planned: list[Resources],
) -> None:
    assert [fault for planned in all_planned for fault in _find_faults(planned)] == []


@pytest.mark.exhaustive
def test_values_of_each_planned_resource_type_are_checked(all_planned: list[Resources]) -> None:
    counts: Counter[str] = Counter()
    for planned in all_planned:
        for kind in {planned.kind(address) for address in planned}:
            if kind in discovery.SCHEMAS:
                for values in planned.of(kind).values():
                    counts[kind] += len([*discovery.check(kind, values)])
            else:
                assert kind.endswith(_UNCHECKED), kind
    assert counts.keys() == discovery.SCHEMAS.keys()
    assert min(counts.values()) > 0, counts


def _count_values(body: object) -> int:
    if isinstance(body, dict):
        return sum(map(_count_values, body.values()))
    return sum(map(_count_values, body)) if isinstance(body, list) else 1


def test_the_documented_spend_cap_is_a_valid_request() -> None:
    text = (REPOSITORY / "docs" / "cost.md").read_text(encoding="utf-8")
    (data,) = re.findall(r"--data '(\{.*?\n\})'", text, re.DOTALL)
    body = json.loads(data)
    checked = [*discovery.check("google_billing_budget", body)]
    assert [one for one in checked if one.fault] == []
    assert len(checked) == _count_values(body)  # each field is in the schema


@pytest.mark.parametrize(("kind", "path", "value", "finding"), _FAULTS)
def test_a_seeded_fault_is_found(
    environments: Environments, kind: str, path: str, value: object, finding: str
) -> None:
    planned = environments["prod"].planned.of(kind).values()
    *way, last = (int(part) if part.isdecimal() else part for part in path.split("."))
    found = []
    for values in planned:
        changed: Any = copy.deepcopy(values)
        inner = changed
        try:
            for part in way:
                inner = inner[part]
        except IndexError:  # this resource has no such block
            continue
        inner[last] = value
        found += [checked.fault for checked in discovery.check(kind, changed) if checked.fault]
    assert found
    assert all(finding in fault for fault in found)
