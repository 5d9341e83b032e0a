"""Each metric field has an alert, and each alert a policy that tells the right people."""

import json
import re
from pathlib import Path

import pytest

from tests.support import promtool
from tests.support.alert_policies import CONTRACT, alerts, count_series
from tests.support.terraform import ENVIRONMENTS, REPOSITORY, need_offline
from tests.support.terraform_environments import ALERTS, MIGRATION, PAGERDUTY_KEY, Environments
from tests.support.terraform_state import Deployment, Values

# The metrics of Google Cloud that alerts may read.
PLATFORM = {
    *(
        f"cloudsql_googleapis_com:database_{name}"
        for name in ("auto_failover_request_count", "cpu_utilization", "disk_bytes_used")
    ),
    "cloudsql_googleapis_com:database_memory_utilization",
    "pubsub_googleapis_com:subscription_num_undelivered_messages",
    "pubsub_googleapis_com:subscription_oldest_unacked_message_age",
    "run_googleapis_com:job_completed_execution_count",
    "run_googleapis_com:request_count",
}

OFF = {"cache-hit-rate"}  # unless the tfvars turn it on
# Without instances that are always ready, each cold start would use up the error budgets.
FAST = {"availability-fast-burn", "freshness-fast-burn"}
BURNS = {"availability-burn", "freshness-burn"} | FAST
ALL = {*ALERTS}


def test_each_policy_has_one_condition_and_the_label_of_its_alert(deployment: Deployment) -> None:
    """Cloud Monitoring rejects a policy with a second PromQL condition. Two windows must agree."""
    policies = deployment.applied.of("google_monitoring_alert_policy")
    several = {name: policy for name, policy in policies.items() if len(policy["conditions"]) > 1}
    assert several.keys() == FAST & policies.keys()
    assert {policy["combiner"] for policy in several.values()} <= {"AND"}
    assert all(policy["user_labels"] == {"alert": name} for name, policy in policies.items())
    assert policies.keys() == ALL - {*deployment.outputs["alerting"]["off"]}
    assert len({policy["display_name"] for policy in policies.values()}) == len(policies)


def test_the_query_of_each_alert_parses_and_the_alerts_read_each_metric_that_is_emitted(
    request: pytest.FixtureRequest, environments: Environments, tmp_path: Path
) -> None:
    moving = environments.variant("moving", "dev", *MIGRATION)  # has the alert that is off
    by_name = {**alerts(moving.applied), **alerts(environments["prod"].applied)}
    assert all(alert.selectors for alert in by_name.values())
    assert {field for alert in by_name.values() for field in alert.metric_fields} == CONTRACT.keys()
    assert {metric for alert in by_name.values() for metric in alert.foreign} == PLATFORM
    promtool.check_queries(request, [alert.query for alert in by_name.values()], tmp_path)


def test_a_dump_is_missed_only_where_a_schedule_starts_the_job_that_dumps(
    environments: Environments,
) -> None:
    moving = environments.variant("moving", "dev", *MIGRATION)
    for deployed, dumps in ((moving, True), (environments["prod"], False)):
        schedule = deployed.applied.of("google_cloud_scheduler_job")["backup"]
        assert schedule["http_target"][0]["uri"].endswith("/jobs/progress-backup:run") == dumps
        assert ("progress-backup" in alerts(deployed.applied)["batch-job"].query) == dumps


def test_the_alert_on_the_batch_job_does_not_end_while_the_job_stands_still(
    request: pytest.FixtureRequest, environments: Environments, tmp_path: Path
) -> None:
    """In production, no other job runs. A metric has no values where nothing happened."""
    job = "run_googleapis_com:job_completed_execution_count{monitored_resource='cloud_run_job',"
    outcome = "logging_googleapis_com:user_progress_outcome{monitored_resource='cloud_run_job',"
    runs = "_x11 1+1x11 _x1700"  # for an hour, then never again
    series = {
        f"{job}job_name='progress-release'}}": "_x10 1 _x1712",
        f"{job}job_name='progress-batch'}}": runs,
        f"{outcome}operation='batch',outcome='ok'}}": runs,
    }
    moments = {"55m": False, "1h": False, "1h55m": False, "3h": True, "2d": True, "6d": True}
    alert = alerts(environments["prod"].applied)["batch-job"]
    promtool.check_moments(request, alert, series, moments, tmp_path)


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("cpu_utilization", "0.95+0x12"),
        ("memory_utilization", "0.95+0x12"),
        ("disk_bytes_used", f"{0.81 * 500 * 2**30:.0f}+0x12"),
        ("auto_failover_request_count", "0+0x10 1 1"),
    ],
)
def test_the_load_of_the_database_is_told_and_not_that_of_another_instance(
    request: pytest.FixtureRequest,
    environments: Environments,
    tmp_path: Path,
    metric: str,
    values: str,
) -> None:
    alert = alerts(environments["prod"].applied)["database-load"]
    series = f"cloudsql_googleapis_com:database_{metric}{{monitored_resource='cloudsql_database',"
    for instance, fires in (("progress", True), ("drill-7", False)):
        name = f"{series}database_id='progress-prod:{instance}'}}"
        promtool.check_moments(request, alert, {name: values}, {"1h": fires}, tmp_path)


def test_a_budget_that_is_used_up_fast_is_told_within_the_hour(environments: Environments) -> None:
    """The first row of the table in Google's SRE workbook: 14.4 times, in an hour and 5 minutes."""
    prod = environments["prod"].applied
    for name in FAST:
        parts = [
            part["condition_threshold"][0]
            for part in prod.of("google_monitoring_alert_policy")[name]["conditions"]
        ]
        assert {part["threshold_value"] for part in parts} == {14.4}
        windows = [re.findall(r'", "(\d+)s"\)$', part["filter"]) for part in parts]
        assert windows == [["3600"], ["300"]]


def test_a_channel_beside_e_mail_is_told_and_its_key_is_in_no_state(
    environments: Environments,
) -> None:
    moving = environments.variant("moving", "dev", *MIGRATION)
    (channel,) = moving.applied.of("google_monitoring_notification_channel").values()
    assert (channel["type"], moving.outputs["alerting"]["told"]) == ("pagerduty", "PagerDuty")
    assert channel["sensitive_labels"][0]["service_key_wo_version"] == "7"
    assert PAGERDUTY_KEY not in json.dumps(moving.state)
    for policy in moving.applied.of("google_monitoring_alert_policy").values():
        assert policy["notification_channels"] == [channel["id"]]


def test_each_selector_names_one_resource_kind_and_known_labels(environments: Environments) -> None:
    for alert in alerts(environments["prod"].applied).values():
        for selector in alert.selectors:
            names = {name for name, _, _ in selector.matchers}
            kinds = [(s, v) for name, s, v in selector.matchers if name == "monitored_resource"]
            assert [sign for sign, _ in kinds] == ["="], alert.name
            if selector.field:
                field = CONTRACT[selector.field]
                labels = {*field["labels"], *(["le"] if field["kind"] == "distribution" else [])}
                assert names - {"monitored_resource", "job_name"} <= labels, alert.name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_policy_notifies_the_addresses_and_without_any_an_output_says_so(
    environments: Environments, environment: str
) -> None:
    applied, outputs = environments[environment].applied, environments[environment].outputs
    is_dev = environment == "dev"
    channels = applied.of("google_monitoring_notification_channel")
    ids = {channel["id"] for channel in channels.values()}
    told = "nobody is told: alert_emails is empty" if is_dev else ", ".join(channels)
    off = {"dev": ALL, "staging": OFF | BURNS, "prod": OFF}[environment]
    assert outputs["alerting"] == {"told": told, "off": sorted(off)}
    assert bool(ids) is not is_dev
    for policy in applied.of("google_monitoring_alert_policy").values():
        assert set(policy["notification_channels"] or ()) == ids


def test_the_cost_of_the_alerts_follows_from_the_policies(environments: Environments) -> None:
    """Google bills each condition, but those on log lines, and what each clause of it returns."""
    text = " ".join((REPOSITORY / "docs/cost.md").read_text(encoding="utf-8").split())
    (price,) = re.findall(r"\| alert conditions, .*? \| ([\d.]+) \| conditions", text)
    (point,) = re.findall(r"\| points: one a minute .*? \| ([\d.]+) \| points", text)
    prod = environments["prod"].applied
    policies = prod.of("google_monitoring_alert_policy")
    by_query = {name: count_series(alert.query) for name, alert in alerts(prod).items()}
    billed = policies.keys() - {"error-logs"}
    parts = sum(len(policies[name]["conditions"]) for name in billed)
    series = sum(by_query.get(name, len(policies[name]["conditions"])) for name in billed)
    amounts = parts * float(price), series * 730 * 60 * float(point)
    assert (
        f"{parts} alert conditions are {amounts[0]:.2f}, and the at most {series} series that their"
        f" clauses return {amounts[1]:.2f}."
    ) in text
    assert f"they would be {parts * 1.5:.0f}." in text
    (row,) = re.findall(r"\| Cloud Monitoring \| ([\d.]+) \| [\d.]+ \| [\d.]+ \|", text)
    assert 0 < float(row) - sum(amounts) < 0.1  # samples of metrics


@pytest.mark.exhaustive
def test_alerts_without_what_they_watch_are_off(environments: Environments) -> None:
    """The migration of dev turns on all but those of a domain and of a minimum of instances."""
    moving = environments.variant("moving", "dev", *MIGRATION)
    assert moving.outputs["alerting"]["off"] == sorted({"uptime"} | BURNS)
    assert alerts(moving.applied).keys() == ALL - BURNS - {"error-logs", "uptime"}


def test_a_policy_changes_before_what_it_referred_to_is_deleted(environments: Environments) -> None:
    """Monitoring rejects the deletion of a channel or an uptime check that a policy refers to."""
    need_offline()
    root = environments.root()
    state = json.dumps(environments["prod"].state)
    (root.folder / "other-address.tfstate").write_text(state)
    check = "google_monitoring_uptime_check_config.query"
    policy = "google_monitoring_alert_policy.alert"
    channel = "google_monitoring_notification_channel.email"
    other = "google_monitoring_notification_channel.other"
    output = root.run(
        *("apply", "-auto-approve", "-refresh=false", "-var-file=environments/prod.tfvars"),
        '-var=alert_emails=["one@example.com", "two@example.com"]',
        "-var=alert_channel=https://hooks.example.com/progress",
        *(f"-target={name}" for name in (check, policy, channel, f"{other}[0]")),
        f"-replace={check}[0]",
        state="other-address",
    )
    after = json.loads((root.folder / "other-address.tfstate").read_text())["resources"]
    (hook,) = (resource["instances"][0] for resource in after if resource["name"] == "other")
    assert hook["attributes"]["type"] == "webhook_tokenauth"
    assert hook["attributes"]["labels"] == {"url": "https://hooks.example.com/progress"}
    _, _, later = output.partition(f'{policy}["uptime"]: Modifications complete')
    assert f'{channel}["operations@example.com"]: Destroying' in later
    assert re.search(rf"{check}\[0\] \(deposed object \w+\): Destroying", later)


def test_each_threshold_is_a_histogram_bound_of_its_metric(environments: Environments) -> None:
    """A percentile between two bounds is only interpolated, so the threshold must be a bound.

    A single slow event stays in the window for 5 minutes, but must not fire the alert. The alert
    must therefore fire only after the condition has held for longer than 5 minutes.
    """
    prod = environments["prod"].applied
    metrics = prod.of("google_logging_metric")
    compared = [
        (alert, field, threshold)
        for alert in alerts(prod).values()
        for field, threshold in re.findall(
            r"user_progress_(\w+)_bucket\{[^}]*\}\[5m\]\)\)\) > (\d+)|$", alert.query
        )
        if field
    ]
    for alert, field, threshold in compared:
        assert float(threshold) in bounds(metrics[field])
        assert alert.seconds >= 6 * 60
    assert {field for _, field, _ in compared} == {
        *("event_delay_ms", "projection_delay_ms", "latency_ms", "projection_lag")
    }
    assert sum(alert.query.count("histogram_quantile") for alert in alerts(prod).values()) == 4
    (cut,) = prod.of("google_monitoring_slo")["freshness"]["request_based_sli"]
    assert cut["distribution_cut"][0]["range"][0]["max"] in bounds(metrics["projection_delay_ms"])


def bounds(metric: Values) -> list[float]:
    (options,) = metric["bucket_options"]
    return list(options["explicit_buckets"][0]["bounds"])
