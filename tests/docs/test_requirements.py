"""docs/requirements.md names an existing implementation and tests for each requirement."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/requirements.md").read_text(encoding="utf-8")

REQUIREMENTS = {
    "Archive of events older than a year",
    "Artifact Registry",
    "Automatic deployment to dev",
    "Backup of the read models every six hours",
    "Blue-green deployment to production",
    "Cloud SQL as the alternative",
    "Daily database backups, kept for seven days",
    "Encryption at rest",
    "Five alerts",
    "GitHub Actions",
    "Grafana",
    "Health checks",
    "IAM",
    "JWT",
    "Jaeger",
    "Load balancing",
    "Logging",
    "Masking of e-mail addresses and secrets",
    "Monitoring",
    "Neon by default",
    "OpenTelemetry",
    "Prometheus",
    "Recovery in four steps",
    "RedisInsight",
    "Scaling down at night",
    "Secret Manager",
    "Service accounts",
    "Sizes and scaling of the three services",
    "Staging after an approval",
    "TLS 1.3",
    "Topics and subscriptions",
    "VPC",
    "pgAdmin",
}

# Each requirement, with the lines of its references.
_SECTIONS = dict(re.findall(r"^- \*\*(.+)\*\*\n((?:  - .+\n)+)", TEXT, re.MULTILINE))
_REFERENCES = sorted(set(re.findall(r"^  - (?:test )?`([^`]+)`$", TEXT, re.MULTILINE)))


def test_each_requirement_is_listed() -> None:
    assert _SECTIONS.keys() == REQUIREMENTS


@pytest.mark.parametrize("requirement", sorted(_SECTIONS))
def test_a_requirement_names_its_implementation_and_a_test(requirement: str) -> None:
    lines = _SECTIONS[requirement]
    assert re.search(r"^  - `[^`]+::", lines, re.MULTILINE)
    assert re.search(
        r"^  - test `(tests/[\w/]+\.py|infra/terraform/tests/[\w.]+)::", lines, re.MULTILINE
    )


@pytest.mark.parametrize("reference", _REFERENCES)
def test_each_reference_exists(reference: str) -> None:
    path, _, name = reference.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(_pattern(path, name), text, re.MULTILINE), f"{path} has no {name}"


def _pattern(path: str, name: str) -> str:
    """Return a regular expression that finds the definition of `name` in the file at `path`."""
    kind, _, rest = name.partition(".")
    if path.startswith("tests/"):
        return rf"^def {re.escape(name)}\("
    if name.startswith(("def", "class")):
        return rf"^{re.escape(name)}[(:]"
    if path.endswith(".md"):
        return rf"^#+ {re.escape(name)}$"
    if path.endswith(".tf") and kind == "variable":
        return rf'^variable "{re.escape(rest)}"'
    if path.endswith(".tf") and kind.startswith("google_"):
        return rf'^resource "{kind}" "{re.escape(rest)}"'
    return re.escape(name)
