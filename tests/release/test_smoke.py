"""The smoke test against the real query function."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.query.test_process import connection, port
from tests.support import token_issuer

ROOT = Path(__file__).resolve().parents[2]

__all__ = ["connection", "port"]


@pytest.mark.parametrize(
    ("token", "failed"), [(None, False), ("a learner's", False), ("nobody's", True)]
)
def test_the_query_function_passes_the_smoke_test_unless_the_token_is_invalid(
    port: int, token: str | None, *, failed: bool
) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "infra/release")}
    if token:
        environment["SMOKE_TOKEN"] = token_issuer.token("ann") if "learner" in token else token
    done = subprocess.run(
        [sys.executable, "-c", f"import smoke; smoke.Green('http://127.0.0.1:{port}').check(tries=1)"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert bool(done.returncode) == failed, done.stderr
    assert ("green's GraphQL gave an unexpected response: 401" in done.stderr) == failed
