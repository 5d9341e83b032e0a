"""Run commands to completion."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Ended = subprocess.CompletedProcess[str]


def run(command: Sequence[object], *environment: Mapping[str, str], **options: Any) -> str:
    """Return the output of a command that must succeed; the options are those of `try_run`."""
    done = try_run(command, *environment, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def try_run(
    command: Sequence[object],
    environment: Mapping[str, str] | None = None,
    *,
    text: str = "",
    folder: Path | None = None,
) -> Ended:
    return subprocess.run(
        [*map(str, command)],
        env=environment,
        cwd=folder,
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=250,
        check=False,
    )
