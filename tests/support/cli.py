"""Functions that run the command `progress` on a test's database."""

import os
import subprocess

from progress import settings
from tests.support import command_server

Result = subprocess.CompletedProcess[str]


def progress(url: str, *arguments: str, text: str = "", **environment: str) -> Result:
    """Run the command with this database, input and environment variables.

    If PROGRESS_DATA_DIR is not set, the command finds no archive, even if the developer's local
    stack has one.
    """
    folder = os.environ.get("PROGRESS_DATA_DIR", os.devnull)
    defaults = {"DATABASE_URL": url, "COLUMNS": "200", "PROGRESS_DATA_DIR": folder}
    return subprocess.run(
        [*command_server.command(), *arguments],
        env=settings.child_env(**(defaults | environment)),
        cwd=command_server.ROOT,
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=250,
        check=False,
    )


def expect_success(answer: Result) -> str:
    """Assert that the command succeeded; return its output."""
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def expect_failure(answer: Result, *words: str) -> str:
    """Assert exit code 1 and one error line that contains these words; return the output."""
    assert answer.returncode == 1, answer.stdout + answer.stderr
    (line,) = answer.stderr.splitlines()
    for word in words:
        assert word in line
    return answer.stdout
