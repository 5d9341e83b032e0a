"""docs/operations.md: what does each operation that was asked for, and what holds it, is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOLD = (ROOT / "docs/operations.md").read_text(encoding="utf-8")

ASKED = """
Sizes and scaling of the three services. Topics and subscriptions. Daily backups, seven days. Read models every six hours.
Five alerts. Monitoring. Logging. OpenTelemetry. VPC. Service accounts. JWT. IAM. Encryption at rest. TLS 1.3. Masking.
Dev by itself. Staging approved. Production blue-green. Scale-down off hours. Events over a year old archived.
Recovery in four steps. Secret Manager. GitHub Actions. Artifact Registry. Load balancing. Health checks. pgAdmin.
RedisInsight. Prometheus. Grafana. Jaeger. Neon by default. Cloud SQL as the way out.
"""  # noqa: E501 - one sentence an operation

_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TOLD.splitlines()
    if line.startswith("| ") and "::" in line
]
_REFERENCES = [
    tuple(each.split("::", 1)) for row in _ROWS for each in re.findall(r"`([^`]+)`", " ".join(row))
]


def test_each_operation_that_was_asked_for_has_a_line() -> None:
    asked = {each.strip() for each in re.split(r"\.\s", ASKED + " ") if each.strip()}
    assert len(asked) == 33
    assert {row[0] for row in _ROWS} >= asked


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[0])
def test_a_line_names_what_does_it_and_what_holds_it(row: list[str]) -> None:
    _, does, holds = row
    assert "::" in does
    assert re.search(r"`(tests/[\w/]+\.py|infra/terraform/tests/[\w.]+)::", holds)


@pytest.mark.parametrize("reference", sorted(set(_REFERENCES)), ids="::".join)
def test_what_is_named_is_there(reference: tuple[str, ...]) -> None:
    path, name = reference
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(_pattern(path, name), text, re.MULTILINE), f"{path} has no {name}"


def _pattern(path: str, name: str) -> str:
    """What a thing of that name looks like in such a file."""
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
