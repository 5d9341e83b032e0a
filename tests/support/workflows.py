"""The workflows of .github/workflows, read as mappings."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


FOLDER = ROOT / ".github/workflows"


FILES = sorted(FOLDER.glob("*.yaml"))


BIN = Path(sys.executable).parent


SIGNS_IN = "google-github-actions/auth"


Node = dict[str, Any]


each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file: Path) -> Node:
    """Return the workflow; restore its key `on`, which YAML parses as true."""
    workflow: dict[Any, Any] = yaml.safe_load(file.read_text())
    return {"on": workflow.pop(True), **workflow}


def jobs(file: Path) -> dict[str, Node]:
    jobs_by_name: dict[str, Node] = read(file)["jobs"]
    return jobs_by_name


def steps(file: Path) -> Iterator[tuple[Node, Node, Node]]:
    """Yield each step with its job and its workflow."""
    workflow = read(file)
    for job in workflow["jobs"].values():
        for step in job.get("steps", ()):
            yield step, job, workflow


def texts(node: object) -> Iterator[str]:
    """Yield every text in a node of a workflow."""
    if isinstance(node, dict):
        node = [*node.values()]
    if isinstance(node, list):
        for child in node:
            yield from texts(child)
    elif isinstance(node, str):
        yield node


def ran(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )  # fmt: skip
