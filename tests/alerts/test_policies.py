"""Each metric field has a metric, an alert and a chart on the dashboard."""

import json
import re
from typing import Any

import pytest

from tests.support.alert_policies import CONTRACT, EXPORTED, RUNBOOK, alerts, anchors
from tests.support.log_filters import fields, parsed
from tests.support.terraform import ENVIRONMENTS, need_offline
from tests.support.terraform_environments import MIGRATION, Environments
from tests.support.terraform_state import Deployment

# The metrics of Google Cloud that alerts may read; each alert also reads a metric of this project.
PLATFORM = {
    "pubsub_googleapis_com:subscription_num_undelivered_messages",
    "pubsub_googleapis_com:subscription_oldest_unacked_message_age",
    "run_googleapis_com:job_completed_execution_count",
    "run_googleapis_com:request_count",
}
# The metrics of Google Cloud that only the dashboard reads.
DASHBOARD_ONLY = {
    "cloudsql_googleapis_com:database_cpu_utilization",
    "redis_googleapis_com:stats_memory_usage_ratio",
    "run_googleapis_com:container_instance_count",
}

REQUIRED = {
    "batch-job": "outcome",
    "cold-cache": "cache_result",
    "database-latency": "database_ms",
    "database-limits": "database_connections",
    "dead-letters": "dead_letters",
    "errors": "outcome",
    "event-delay": "projection_delay_ms",
    "letter-bytes": "letter_share",
    "operations": "failed_operations",
    "pending-events": "pending_ms",
    "projection-lag": "projection_lag",
    "publication-lag": "publication_lag_ms",
    "slow-queries": "latency_ms",
}
OFF = {"cache-hit-rate"}  # unless the tfvars turn it on


def test_each_metric_field_has_a_metric_of_its_kind(deployment: Deployment) -> None:
    metrics = deployment.planned.of("google_logging_metric")
    assert metrics.keys() == CONTRACT.keys()
    for field, facts in CONTRACT.items():
        metric = metrics[field]
        is_distribution = facts["kind"] == "distribution"
        described = metric["metric_descriptor"][0]
        assert metric["name"] == f"progress_{field}"
        assert metric["value_extractor"] == (
            f"EXTRACT(jsonPayload.{field})" if is_distribution else None
        )
        assert described["value_type"] == ("DISTRIBUTION" if is_distribution else "INT64")
        assert described["unit"] == facts["unit"]
        assert {label["key"] for label in described["labels"]} == set(facts["labels"])
        assert (metric["label_extractors"] or {}) == {
            label: f"EXTRACT(jsonPayload.{label})" for label in facts["labels"]
        }
        assert fields(metric["filter"]) == {field}


def test_a_metric_matches_only_lines_that_have_its_field_and_come_from_a_service_or_job(
    environments: Environments,
) -> None:
    metric = environments["prod"].planned.of("google_logging_metric")["latency_ms"]
    matches = parsed(metric["filter"])
    service = {"type": "cloud_run_revision", "labels": {"service_name": "progress-query"}}
    job = {"type": "cloud_run_job", "labels": {"job_name": "progress-batch"}}
    foreign = {"type": "cloud_run_revision", "labels": {"service_name": "another"}}
    assert matches({"resource": service, "jsonPayload": {"latency_ms": 0}})
    assert matches({"resource": job, "jsonPayload": {"latency_ms": 5}})
    assert not matches({"resource": service, "jsonPayload": {"message": "latency_ms"}})
    assert not matches({"resource": service, "textPayload": "latency_ms"})
    assert not matches({"resource": foreign, "jsonPayload": {"latency_ms": 5}})
    assert not matches({"resource": {**service, "type": "gce"}, "jsonPayload": {"latency_ms": 5}})


def test_each_required_alert_exists_and_reads_the_required_metric_field(
    environments: Environments,
) -> None:
    by_name = alerts(environments["prod"].planned)
    assert by_name.keys() == REQUIRED.keys()
    for name, field in REQUIRED.items():
        assert field in by_name[name].metric_fields


def test_each_policy_has_one_condition_and_the_label_of_its_alert(deployment: Deployment) -> None:
    """Cloud Monitoring rejects a policy with a second PromQL condition."""
    planned = deployment.planned
    policies = planned.of("google_monitoring_alert_policy", "alert").values()
    assert {len(policy["conditions"]) for policy in policies} <= {1}
    labels = {policy["user_labels"]["alert"] for policy in policies}
    assert labels == (REQUIRED.keys() | OFF) - {*deployment.outputs["alerting"]["off"]}
    names = [policy["display_name"] for policy in policies]
    assert len(set(names)) == len(names)


def test_each_metric_field_is_read_by_an_alert(environments: Environments) -> None:
    by_name = alerts(environments["prod"].planned)
    assert {field for alert in by_name.values() for field in alert.metric_fields} == CONTRACT.keys()


def test_each_alert_reads_a_metric_field_and_no_unlisted_platform_metric(
    deployment: Deployment,
) -> None:
    planned = deployment.planned
    metrics = {metric["name"] for metric in planned.of("google_logging_metric").values()}
    for alert in alerts(planned).values():
        assert alert.metric_fields, alert.name
        for condition in alert.conditions:
            assert condition.selectors, condition.name
            assert {f"progress_{field}" for field in condition.metric_fields} <= metrics
            assert condition.foreign <= PLATFORM


def test_each_selector_names_one_resource_kind_and_known_labels(environments: Environments) -> None:
    for alert in alerts(environments["prod"].planned).values():
        for condition in alert.conditions:
            for selector in condition.selectors:
                names = {name for name, _, _ in selector.matchers}
                kinds = [(s, v) for name, s, v in selector.matchers if name == "monitored_resource"]
                assert len(kinds) == 1, condition.name
                assert kinds[0][0] == "=", condition.name
                if selector.field:
                    labels = set(CONTRACT[selector.field]["labels"])
                    assert names - {"monitored_resource", "job_name"} <= labels, condition.name


def test_each_policy_links_to_its_section_of_the_runbook(
    deployment: Deployment,
) -> None:
    planned = deployment.planned
    policies = planned.of("google_monitoring_alert_policy")
    by_name = alerts(planned)
    conditions = sum(len(alert.conditions) for alert in by_name.values())
    checks = planned.of("google_monitoring_uptime_check_config")
    of_lines = "error-logs" not in deployment.outputs["alerting"]["off"]
    assert conditions + len(checks) + of_lines == len(policies)
    for policy in policies.values():
        text = policy["documentation"][0]["content"]
        assert "docs/runbook.md#" in text
        assert text.rpartition("#")[2] in anchors(RUNBOOK)
    for name, alert in by_name.items():
        assert alert.anchor == name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_policy_notifies_the_addresses_and_without_any_an_output_says_so(
    environments: Environments, environment: str
) -> None:
    applied, outputs = environments[environment].applied, environments[environment].outputs
    is_dev = environment == "dev"
    channels = applied.of("google_monitoring_notification_channel")
    ids = {channel["id"] for channel in channels.values()}
    told = "nobody is told: alert_emails is empty" if is_dev else ", ".join(channels)
    off = sorted([*REQUIRED, *OFF, "error-logs", "uptime"]) if is_dev else [*OFF]
    assert outputs["alerting"] == {"told": told, "off": off}
    assert bool(ids) is not is_dev
    for policy in applied.of("google_monitoring_alert_policy").values():
        assert set(policy["notification_channels"] or ()) == ids


@pytest.mark.exhaustive
def test_alerts_without_what_they_watch_are_off(environments: Environments) -> None:
    """The migration of dev turns all alerts on; it has neither Redis nor a domain."""
    moving = environments.variant("moving", "dev", *MIGRATION)
    assert moving.outputs["alerting"]["off"] == ["cold-cache", "uptime"]
    assert alerts(moving.applied).keys() == (REQUIRED.keys() | OFF) - {"cold-cache"}


def test_a_policy_changes_before_what_it_referred_to_is_deleted(environments: Environments) -> None:
    """Monitoring rejects the deletion of a channel or an uptime check that a policy refers to."""
    need_offline()
    root = environments.root()
    state = json.dumps(environments["prod"].state)
    (root.folder / "other-address.tfstate").write_text(state)
    check = "google_monitoring_uptime_check_config.query"
    policy = "google_monitoring_alert_policy.uptime"
    channel = "google_monitoring_notification_channel.email"
    output = root.run(
        *("apply", "-auto-approve", "-refresh=false", "-var-file=environments/prod.tfvars"),
        '-var=alert_emails=["one@example.com", "two@example.com"]',
        *(f"-target={name}" for name in (check, policy, channel)),
        f"-replace={check}[0]",
        state="other-address",
    )
    _, _, later = output.partition(f"{policy}[0]: Modifications complete")
    assert f'{channel}["operations@example.com"]: Destroying' in later
    assert re.search(rf"{check}\[0\] \(deposed object \w+\): Destroying", later)


def test_each_error_in_a_log_of_a_service_job_or_schedule_raises_an_alert(
    environments: Environments,
) -> None:
    policy = environments["prod"].planned.one("google_monitoring_alert_policy", "error_logs")
    (condition,) = policy["conditions"]
    matches = parsed(condition["condition_matched_log"][0]["filter"])

    def wrote(severity: str, **labels: str) -> bool:
        return matches({"severity": severity, "resource": {"labels": labels}})

    for labels in (
        {"service_name": "progress-query"},
        {"job_name": "progress-batch"},
        {"job_id": "progress-evening-query"},
    ):
        assert [s for s in ("INFO", "WARNING", "ERROR", "CRITICAL") if wrote(s, **labels)] == [
            "ERROR",
            "CRITICAL",
        ]
    assert not wrote("ERROR", service_name="another")
    assert not wrote("ERROR")
    service = {"labels": {"service_name": "progress-ingest"}}
    for status, is_told in ((500, True), (503, False)):
        request = {"severity": "ERROR", "resource": service, "httpRequest": {"status": status}}
        assert matches(request) is is_told
    (strategy,) = policy["alert_strategy"]
    assert strategy["notification_rate_limit"]  # the API requires it for a condition on log lines


def test_environments_with_a_domain_have_an_uptime_check(
    deployments: dict[str, Deployment],
) -> None:
    checks = {
        name: deployment.planned.of("google_monitoring_uptime_check_config")
        for name, deployment in deployments.items()
    }
    assert [name for name in checks if not checks[name]] == ["dev"]
    ((_, check),) = checks["prod"].items()
    assert check["http_check"][0]["path"] == "/health"
    assert check["http_check"][0]["use_ssl"]
    applied = deployments["prod"].applied
    (policy,) = applied.of("google_monitoring_alert_policy", "uptime").values()
    (threshold,) = policy["conditions"][0]["condition_threshold"]
    (made,) = applied.of("google_monitoring_uptime_check_config").values()
    id_ = made["uptime_check_id"]
    assert f'metric.labels.check_id="{id_}"' in threshold["filter"]
    assert "uptime_check/check_passed" in threshold["filter"]
    (counted,) = threshold["aggregations"]
    assert counted["cross_series_reducer"] == "REDUCE_COUNT_FALSE"
    assert threshold["comparison"] == "COMPARISON_GT"
    assert 1 <= threshold["threshold_value"] < len(check["selected_regions"])


def test_each_threshold_is_a_histogram_bound_of_its_metric(environments: Environments) -> None:
    """A percentile between two bounds is only interpolated, so the threshold must be a bound.

    A single slow event stays in the window for 5 minutes, but must not fire the alert. The alert
    must therefore fire only after the condition has held for longer than 5 minutes.
    """
    planned = environments["prod"].planned
    metrics = planned.of("google_logging_metric")
    checked = set()
    for alert in alerts(planned).values():
        for condition in alert.conditions:
            if "histogram_quantile" not in condition.query:
                continue
            (field,) = re.findall(r"user_progress_(\w+)_bucket", condition.query)
            buckets = metrics[field]["bucket_options"][0]["explicit_buckets"][0]["bounds"]
            threshold = re.search(r"\)\)\)? > (\d+)", condition.query)
            assert threshold, condition.query
            assert float(threshold[1]) in buckets
            assert "[5m]" in condition.query
            assert condition.seconds >= 6 * 60
            checked.add(field)
    assert checked == {"event_delay_ms", "projection_delay_ms", "latency_ms", "projection_lag"}


def test_the_dashboard_shows_each_metric_field(deployment: Deployment) -> None:
    planned = deployment.planned
    ((_, dashboard),) = planned.of("google_monitoring_dashboard").items()
    tiles: list[dict[str, Any]] = json.loads(dashboard["dashboard_json"])["mosaicLayout"]["tiles"]
    text = json.dumps(tiles)
    for field in CONTRACT:
        assert f"logging_googleapis_com:user_progress_{field}" in text
    for metric in EXPORTED:
        assert f"progress.{metric}_bucket" in text
    foreign = set(re.findall(r"\b(\w+_googleapis_com:\w+)", text))
    assert {kind for kind in foreign if not kind.startswith("logging")} == DASHBOARD_ONLY
    for field, facts in (CONTRACT | EXPORTED).items():
        (tile,) = (
            candidate
            for candidate in tiles
            if candidate["widget"]["title"].startswith(f"{field}: ")
        )
        # The legend shows all labels of the field.
        for line in tile["widget"]["xyChart"]["dataSets"]:
            named = set(re.findall(r"\$\{labels\.(\w+)\}", line["legendTemplate"]))
            assert named == set(facts["labels"])
    hits = "increase(logging_googleapis_com:user_progress_cache_result{"
    assert text.count("Cache hit rate") == 1
    assert hits in text
    places = {(tile.get("xPos"), tile.get("yPos")) for tile in tiles}
    assert len(places) == len(tiles)
    # The API omits a position of 0, so a configured 0 would appear as a change in every plan.
    assert 0 not in {place for coordinate in places for place in coordinate}


def test_an_environment_can_be_without_alerts(environments: Environments) -> None:
    applied = environments["dev"].applied
    assert applied.of("google_monitoring_alert_policy") == {}
    assert applied.of("google_logging_metric").keys() == CONTRACT.keys()
