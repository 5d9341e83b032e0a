"""Check planned resources against Google's request schemas.

`google-api-python-client` contains the discovery documents of Google's APIs. A document describes
each field of a request: its type and format, the values of an enumeration, and whether the field is
deprecated or only in responses. Terraform's attributes have the names of these fields, in another
case. An attribute without such a field is not checked.
"""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

from tests.support.terraform_state import Values

# The API and the schema of each resource type.
SCHEMAS = {
    "google_artifact_registry_repository": ("artifactregistry.v1", "Repository"),
    "google_bigquery_connection": ("bigqueryconnection.v1", "Connection"),
    "google_bigquery_dataset": ("bigquery.v2", "Dataset"),
    "google_bigquery_table": ("bigquery.v2", "Table"),
    "google_billing_budget": ("billingbudgets.v1", "GoogleCloudBillingBudgetsV1Budget"),
    "google_cloud_run_v2_job": ("run.v2", "GoogleCloudRunV2Job"),
    "google_cloud_run_v2_service": ("run.v2", "GoogleCloudRunV2Service"),
    "google_cloud_scheduler_job": ("cloudscheduler.v1", "Job"),
    "google_compute_address": ("compute.v1", "Address"),
    "google_compute_backend_service": ("compute.v1", "BackendService"),
    "google_compute_firewall": ("compute.v1", "Firewall"),
    "google_compute_global_address": ("compute.v1", "Address"),
    "google_compute_global_forwarding_rule": ("compute.v1", "ForwardingRule"),
    "google_compute_managed_ssl_certificate": ("compute.v1", "SslCertificate"),
    "google_compute_network": ("compute.v1", "Network"),
    "google_compute_region_network_endpoint_group": ("compute.v1", "NetworkEndpointGroup"),
    "google_compute_router": ("compute.v1", "Router"),
    "google_compute_router_nat": ("compute.v1", "RouterNat"),
    "google_compute_security_policy": ("compute.v1", "SecurityPolicy"),
    "google_compute_ssl_policy": ("compute.v1", "SslPolicy"),
    "google_compute_subnetwork": ("compute.v1", "Subnetwork"),
    "google_compute_target_http_proxy": ("compute.v1", "TargetHttpProxy"),
    "google_compute_target_https_proxy": ("compute.v1", "TargetHttpsProxy"),
    "google_compute_url_map": ("compute.v1", "UrlMap"),
    "google_iam_workload_identity_pool": ("iam.v1", "WorkloadIdentityPool"),
    "google_iam_workload_identity_pool_provider": ("iam.v1", "WorkloadIdentityPoolProvider"),
    "google_logging_metric": ("logging.v2", "LogMetric"),
    "google_monitoring_alert_policy": ("monitoring.v3", "AlertPolicy"),
    "google_monitoring_notification_channel": ("monitoring.v3", "NotificationChannel"),
    "google_monitoring_uptime_check_config": ("monitoring.v3", "UptimeCheckConfig"),
    "google_project": ("cloudresourcemanager.v3", "Project"),
    "google_project_iam_custom_role": ("iam.v1", "Role"),
    "google_pubsub_subscription": ("pubsub.v1", "Subscription"),
    "google_pubsub_topic": ("pubsub.v1", "Topic"),
    "google_redis_instance": ("redis.v1", "Instance"),
    "google_secret_manager_secret": ("secretmanager.v1", "Secret"),
    "google_service_account": ("iam.v1", "ServiceAccount"),
    "google_sql_database": ("sqladmin.v1", "Database"),
    "google_sql_database_instance": ("sqladmin.v1", "DatabaseInstance"),
    "google_sql_user": ("sqladmin.v1", "User"),
    "google_storage_bucket": ("storage.v1", "Bucket"),
}

# Attributes that the provider sends in another call, in the URL or under another name.
_NOT_SENT = {
    "google_project.name",
    "google_compute_address.region",
    "google_compute_region_network_endpoint_group.region",
    "google_service_account.disabled",
}

_FORMATS = {
    "google-duration": r"-?\d{1,12}(\.\d{1,9})?s",
    "google-datetime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)",
    "byte": r"[A-Za-z0-9+/_-]*={0,2}",
    **dict.fromkeys(("int32", "int64"), r"-?\d+"),
    **dict.fromkeys(("uint32", "uint64"), r"\d+"),
}


@dataclass(frozen=True)
class Checked:
    """A value that a schema describes, and what is wrong with it (empty: nothing)."""

    path: str
    fault: str


def check(kind: str, values: Values) -> Iterator[Checked]:
    """Check each value of a resource that its schema describes."""
    api, schema = SCHEMAS[kind]
    return _check_object(_schemas(api), {"$ref": schema}, values, kind)


@functools.cache
def _schemas(api: str) -> dict[str, Any]:
    documents = resources.files("googleapiclient.discovery_cache.documents")
    schemas: dict[str, Any] = json.loads((documents / f"{api}.json").read_bytes())["schemas"]
    return schemas


def _check(
    schemas: dict[str, Any], schema: dict[str, Any], value: Any, at: str
) -> Iterator[Checked]:
    """Check a value; a block of Terraform is a list, even if the schema has one object."""
    if isinstance(value, list) and schema.get("type") != "array":
        items = [(schema, item) for item in value]
    elif isinstance(value, list):
        items = [(schema["items"], item) for item in value]
    else:
        items = [(schema, value)]
    for described, item in items:
        if isinstance(item, dict):
            yield from _check_object(schemas, described, item, at)
        elif "$ref" not in described and at not in _NOT_SENT:
            yield Checked(at, _find_fault(described, item))


def _check_object(
    schemas: dict[str, Any], schema: dict[str, Any], values: Values, at: str
) -> Iterator[Checked]:
    fields = schemas[schema["$ref"]] if "$ref" in schema else schema
    for name, value in values.items():
        described = fields.get("properties", {}).get(_camel(name))
        if described and value not in (None, [], {}, ""):
            yield from _check(schemas, described, value, f"{at}.{name}")


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _find_fault(schema: dict[str, Any], value: str | float | bool) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    if schema.get("readOnly"):
        return "only in responses"
    if schema.get("deprecated"):
        return "deprecated"
    if values := schema.get("enum"):
        if text not in values:
            return f"{text} is none of {', '.join(values)}"
        if schema.get("enumDeprecated", [False] * len(values))[values.index(text)]:
            return f"{text} is deprecated"
    for pattern in (schema.get("pattern"), _FORMATS.get(schema.get("format", ""))):
        if pattern and not re.fullmatch(pattern, text):
            return f"{text} does not match {pattern}"
    return ""
