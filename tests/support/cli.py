"""Functions that run the command `progress` on a test's database."""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from progress import settings
from progress.serve import processes

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "progress.cli"]  # as a program of its own, in ROOT
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.support.commands", "tests.support.doomed_worker", __name__])

Result = subprocess.CompletedProcess[str]


def progress(url: str, *arguments: str, text: str = "", **environment: str) -> Result:
    """Run the command with this database, input and environment variables, in a forked process.

    If PROGRESS_DATA_DIR is not set, the command finds no archive, even if the developer's local
    stack has one.
    """
    folder = os.environ.get("PROGRESS_DATA_DIR", os.devnull)
    defaults = {"DATABASE_URL": url, "COLUMNS": "200", "PROGRESS_DATA_DIR": folder}
    with tempfile.TemporaryDirectory() as streams:
        names = [f"{streams}/{name}" for name in ("input", "output", "errors")]
        Path(names[0]).write_text(text, encoding="utf-8")
        known = settings.child_env(**(defaults | environment))
        process = FORKS.Process(target=run, args=("progress.cli", names, list(arguments), known))
        process.start()
        process.join(250)
        process.kill()
        process.join()
        output, errors = (Path(name).read_text(encoding="utf-8") for name in names[1:])
    return Result(list(arguments), process.exitcode or 0, output, errors)


def run(
    module: str, streams: list[str], arguments: list[str], environment: Mapping[str, str]
) -> None:
    os.setsid()
    processes.die_with_parent(signal.SIGTERM, os.getppid())
    for number, name in enumerate(streams):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8", closefd=False)
        for number, mode in enumerate("rww")
    )
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def expect_success(answer: Result) -> str:
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def expect_failure(answer: Result, *words: str) -> str:
    assert answer.returncode == 1, answer.stdout + answer.stderr
    (line,) = answer.stderr.splitlines()
    for word in words:
        assert word in line
    return answer.stdout
