"""docs/cost.md shows the numbers that infra/cost computes from the Terraform plans."""

import base64
import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import beam_template
import pytest

from infra.cost import __main__ as writer
from infra.cost import history
from infra.cost.__main__ import FREE, SAVINGS, VOLUMES
from infra.cost.bill import (
    FACTS,
    SERVICES,
    Month,
    busy_seconds,
    compute_items,
    compute_services,
    compute_usage,
)
from progress.recovery import beam_on_dataflow
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Resources

DOCS = Path(__file__).parents[2] / "docs"

MONTHS = [*(Month(name, events) for name in ("dev", "prod") for events in VOLUMES.values())]


def test_the_document_shows_the_computed_numbers() -> None:
    document = (DOCS / "cost.md").read_text(encoding="utf-8")
    assert writer.update(document) == document, "run python -m infra.cost"


def test_every_price_is_used_and_every_used_item_has_one_price() -> None:
    prices = [name for names in SERVICES.values() for name in names]
    assert len(set(prices)) == len(prices)
    used = {name for month in MONTHS for name in compute_usage(month)}
    once = {name for name in prices if name.startswith(("dataflow", "retrieval"))} | {
        "bigquery_read"
    }
    assert set(prices) - used == once | {"nat"}  # nat: used only with a fixed egress address
    assert used <= set(prices)


def test_more_events_do_not_cost_less() -> None:
    for name in ("dev", "prod"):
        bills = [sum(compute_services(Month(name, 10.0**n)).values()) for n in range(2, 8)]
        # With more events, minimum instances have fewer idle and more busy seconds. Every idle
        # second is billed, but a month's first busy seconds are free. More events can therefore
        # lower a bill, but by less than $1.
        assert all(more > less - 1 for less, more in itertools.pairwise(bills))
        assert bills[-1] > 2 * bills[0]


def test_every_saving_lowers_the_bill() -> None:
    whole, *others = [sum(compute_services(month).values()) for month in SAVINGS.values()]
    assert all(other < whole for other in others)
    assert others[-1] == min(others)


def test_overlapping_requests_are_billed_once() -> None:
    assert busy_seconds(1, 1) == pytest.approx(0.1, rel=0.01)  # 100 ms
    steady = FACTS["assumed"]["active_hours"] * 3_600 * 100
    assert busy_seconds(steady, 0.1) == pytest.approx(steady / 100, rel=0.01)  # always busy


def test_some_amounts_equal_those_computed_by_hand() -> None:
    lines = compute_items(Month("prod", 10_000_000))
    assert lines["pubsub"].used == pytest.approx(4 * 1_000 * 10_000_000 * 30 / 2**30)
    assert lines["pubsub"].usd == pytest.approx((1_117.59 - 10) * 40 / 1024, rel=0.001)
    assert lines["job_cpu"].usd == pytest.approx(
        (288 * 60 * 30 + 7_200 + 479.52 - 240_000) * 0.000018, rel=0.01
    )
    assert lines["balancer"].usd == pytest.approx(18, rel=0.01)


def test_only_schedules_and_secrets_cost_money_at_a_thousand_events_a_day() -> None:
    bill = compute_services(FREE)
    paid = {service for service, usd in bill.items() if usd >= 0.005}
    assert paid == {"Cloud Scheduler, Secret Manager"}
    assert math.isclose(compute_items(FREE)["secrets"].usd, 0.12)  # docs/cost.md says why


def test_the_document_shows_the_cost_of_a_second_environment_on_one_billing_account() -> None:
    """Free amounts are per billing account, except those of Neon, Logging and Monitoring."""
    apart = (*SERVICES["Neon"], *SERVICES["Cloud Logging"], *SERVICES["Cloud Monitoring"])
    first = {name: item for name, item in compute_items(FREE).items() if name not in apart}
    more = {name: replace(item, used=2 * item.used).usd - item.usd for name, item in first.items()}
    document = " ".join((DOCS / "cost.md").read_text(encoding="utf-8").split())
    assert f"costs ${sum(more.values()):.2f}, even without traffic" in document
    assert f"${more['job_cpu'] + more['job_memory']:.2f} for the minutes of its jobs" in document
    paid = more["schedules"] + more["secrets"]
    assert f"${paid:.2f} for three schedules and eight secrets" in document


def test_the_cost_of_a_rebuild_equals_the_cost_computed_by_hand() -> None:
    month = Month("prod", 10_000_000)  # 3.6 billion events in a year, a database with 4 processors
    rebuild = history.compute_rebuild(month)
    seconds = 2 * 3_600 * (6.3 / 16 + 6.0 / 4)
    assert rebuild.task_seconds == pytest.approx(seconds)
    gib = 3.6e9 * 41.3 / 2**30
    reading = gib * (2 / 12 * 0.01 + 9 / 12 * 0.02)
    machines = 8 * seconds * (2 * 0.000018 + 8 * 0.000002)
    assert rebuild.task_usd == pytest.approx(machines + reading)
    document = " ".join((DOCS / "cost.md").read_text(encoding="utf-8").split())
    assert f"Cloud Storage charges ${reading:.2f} for reading the archive once" in document


def test_the_machines_of_a_rebuild_are_those_that_terraform_plans(
    environments: Environments,
) -> None:
    job = environments["prod"].planned.of("google_cloud_run_v2_job", "job")["rebuild"]
    (template,) = job["template"]
    limits = template["template"][0]["containers"][0]["resources"][0]["limits"]
    planned = (template["task_count"], int(limits["cpu"]), _gib(limits["memory"]))
    assert planned == tuple(FACTS["rebuild"]["tasks"].values())


def test_the_machines_of_dataflow_are_those_that_the_template_names() -> None:
    template: Any = beam_template.describe("image")
    environment = template["defaultEnvironment"]
    family, size = environment["machineType"].rsplit("-", 1)
    assert family == "e2-standard"  # 4 GiB for each processor
    assert FACTS["rebuild"]["dataflow"] == {
        "count": beam_on_dataflow._MAX_MACHINES,
        "cpu": int(size),
        "memory": 4 * int(size),
        "disk": environment["diskSizeGb"],
    }


def test_the_page_about_growing_load_shows_the_computed_totals() -> None:
    scale = (DOCS / "scale.md").read_text(encoding="utf-8")
    for name, events in (
        ("100,000", 1e5),
        ("1 million", 1e6),
        ("10 million", 1e7),
        ("30 million", 3e7),
    ):
        single, ten = (sum(compute_services(Month("prod", events, n)).values()) for n in (1, 10))
        assert f"| {name} | {single:,.0f} | {ten:,.0f} |" in scale


def test_gcloud_reads_the_log_exclusion_filter_as_one_value() -> None:
    """Unless a value names a separator, gcloud splits it at commas (`gcloud topic escaping`)."""
    document = (DOCS / "cost.md").read_text(encoding="utf-8")
    (value,) = re.findall(r"--add-exclusion='([^']*)'", document)
    ((mark, pairs),) = re.findall(r"\A\^(.+?)\^(.*)", value, re.DOTALL)
    assert [pair.partition("=")[0] for pair in pairs.split(mark)] == ["name", "filter"]
    assert pairs.endswith("sample(insertId, 0.99)")


def test_a_job_that_connects_to_the_database_every_five_minutes_is_not_free() -> None:
    dev = FACTS["environment"]["dev"]
    five = dev["jobs"]["batch"] | {"runs_a_day": 288}
    always = FACTS["environment"] | {
        "dev": dev | {"batch_on_demand": False, "jobs": dev["jobs"] | {"batch": five}}
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FACTS, "environment", always)
        lines = compute_items(Month("dev", 1_000))
    assert lines["neon_compute"].used > lines["neon_compute"].price.free
    assert lines["job_cpu"].usd > 4


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_facts_about_an_environment_match_its_terraform_plan(
    environments: Environments, name: str
) -> None:
    planned, facts = environments[name].planned, FACTS["environment"][name]
    assert _functions(planned) == facts["functions"]
    assert _jobs(planned) == facts["jobs"]
    assert len(planned.of("google_cloud_scheduler_job")) == facts["schedules"]
    assert len(planned.of("google_secret_manager_secret_version")) == facts["secrets"]
    assert (
        sum(instance["memory_size_gb"] for instance in planned.of("google_redis_instance").values())
        == (facts["redis_gib"])
    )
    assert bool(planned.of("google_pubsub_subscription", "changes")) == facts["batch_on_demand"]
    policies = planned.of("google_compute_security_policy").values()
    assert len(policies) == facts["policies"]
    # A rule costs only $1, and an alert condition $0.10. The facts may therefore differ from the
    # plan by up to 3 rules and 3 conditions.
    few = 3
    assert sum(len(policy["rule"]) for policy in policies) == pytest.approx(facts["rules"], abs=few)
    assert not planned.of("google_compute_router_nat")
    assert _database(planned) == facts.get("sql")
    alerts = planned.of("google_monitoring_alert_policy").values()
    conditions = sum(len(alert["conditions"]) for alert in alerts)
    assert conditions == pytest.approx(facts["conditions"], abs=few)
    checks = planned.of("google_monitoring_uptime_check_config").values()
    assert sum(map(_executions, checks)) == facts["checks_a_month"]


def _functions(planned: Resources) -> dict[str, Any]:
    night = {
        job["name"].removeprefix("progress-evening-"): body["scaling"]["minInstanceCount"]
        for job in planned.of("google_cloud_scheduler_job").values()
        if job["name"].startswith("progress-evening-")
        for body in [json.loads(base64.b64decode(job["http_target"][0]["body"]))]
    }
    functions = {}
    for name, service in planned.of("google_cloud_run_v2_service", "function").items():
        limits = service["template"][0]["containers"][0]["resources"][0]["limits"]
        min_instances = service["scaling"][0]["min_instance_count"]
        functions[name] = {
            "cpu": int(limits["cpu"]),
            "memory": _gib(limits["memory"]),
            "min_instances": min_instances,
            "night": night.get(name, min_instances),
        }
    return functions


def _jobs(planned: Resources) -> dict[str, Any]:
    crons = planned.of("google_cloud_scheduler_job", "run")
    jobs = {}
    for name, job in planned.of("google_cloud_run_v2_job", "job").items():
        if name in crons:
            template = job["template"][0]
            limits = template["template"][0]["containers"][0]["resources"][0]["limits"]
            jobs[name] = {
                "cpu": int(limits["cpu"]),
                "memory": _gib(limits["memory"]),
                "tasks": template["task_count"],
                "runs_a_day": _runs(crons[name]["schedule"]),
            }
    return jobs


def _runs(cron: str) -> float:
    """Return the number of runs per day, for cron expressions as this repository writes them."""
    minute, hour, day, *_ = cron.split()
    if minute.startswith("*/"):
        return 24 * 60 / int(minute[2:])
    if hour.startswith("*/"):
        return 24 / int(hour[2:])
    return 1 if day == "*" else 0.0333


def _database(planned: Resources) -> dict[str, Any] | None:
    for instance in planned.of("google_sql_database_instance").values():
        settings = instance["settings"][0]
        cpu, memory = settings["tier"].removeprefix("db-custom-").split("-")
        copies = 2 if settings["availability_type"] == "REGIONAL" else 1
        return {
            "cpu": int(cpu),
            "memory": int(memory) / 1_024,
            "disk": settings["disk_size"],
            "copies": copies,
        }
    return None


def _executions(check: dict[str, Any]) -> int:
    regions = len(check["selected_regions"] or []) or 6
    return 30 * 24 * 3_600 // int(check["period"].rstrip("s")) * regions


def _gib(amount: str) -> float:
    return int(amount.removesuffix("Mi")) / 1_024 if amount.endswith("Mi") else int(amount[:-2])
