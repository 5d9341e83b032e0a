"""A Terraform provider that serves all offline Terraform commands in a folder.

Without this module, `terraform-offline` would start a provider for each command. Each start takes
half a second of CPU time.
"""

import atexit
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

# `terraform-offline` passes these variables to Terraform.
_VARIABLES = {"TF_REATTACH_PROVIDERS", "TF_CLI_CONFIG_FILE", "CHECKPOINT_DISABLE"}
# `terraform-offline` runs this program instead of Terraform. The program prints the variables, and
# ends when its input ends. Then `terraform-offline` stops the provider.
_PROGRAM = """#!/bin/sh
env
exec cat
"""


@dataclass
class _Provider:
    folder: Path
    process: subprocess.Popen[str]
    environment: dict[str, str]


# At most one provider: it serves the folder in which Terraform ran last.
_running: list[_Provider] = []


def environment(offline: Path, folder: Path) -> dict[str, str]:
    """Return the environment variables that make Terraform use the provider of the folder."""
    if not _running or _running[0].folder != folder:
        stop()
        _running.append(_start(offline, folder))
    return _running[0].environment


def _start(offline: Path, folder: Path) -> _Provider:
    """Start `terraform-offline` in the folder; it runs until `stop` or the end of this process."""
    programs = Path(tempfile.mkdtemp(prefix="progress-terraform-"))
    try:
        (programs / "terraform").write_text(_PROGRAM)
        (programs / "terraform").chmod(0o755)
        process = subprocess.Popen(
            [offline, "providers"],
            cwd=folder,
            env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = _read(process)
    finally:
        shutil.rmtree(programs)
    return _Provider(folder, process, found)


def _read(process: subprocess.Popen[str]) -> dict[str, str]:
    """Read the variables from the program's output, which may also contain other lines."""
    assert process.stdout
    found: dict[str, str] = {}
    while found.keys() != _VARIABLES:
        line = process.stdout.readline()
        assert line, "terraform-offline has failed"
        name, _, value = line.rstrip("\n").partition("=")
        if name in _VARIABLES:
            found[name] = value
    return found


@atexit.register
def stop() -> None:
    """Stop the running provider, if any."""
    while _running:
        _running.pop().process.communicate()
