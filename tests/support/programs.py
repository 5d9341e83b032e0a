"""Run commands to completion."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    text: str = "",
    folder: Path | None = None,
) -> str:
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
