"""The local stack from outside: start it, stop it, ask where it is."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from progress import settings
from progress.errors import StackError
from progress.local import datafolder, postgres, processes, readiness
from progress.local.datafolder import DataFolder, State
from progress.local.parts import ROOT

_START_WITHIN = 120.0
_STOP_WITHIN = 45.0


def up(
    folder: DataFolder,
    port: int,
    *,
    attached: bool,
    standin: bool = False,
    on_answer: Callable[[str], None],
) -> subprocess.Popen[bytes] | None:
    """Start the stack, and return once all of it answers; None where it runs already.

    `on_answer` is told each part that answers. An attached stack stops with this process.
    """
    datafolder.make_usable(folder)
    if datafolder.is_held(folder):
        _wait(folder, lambda: datafolder.is_held(folder), _nobody)
        return None
    log = folder.log("supervisor")
    with datafolder.private():
        file = log.open("ab")
        file.truncate(0)
    with file as output:
        command = [sys.executable, "-m", "progress.local.supervisor", "--port", str(port)]
        command += ["--standin"] if standin else []
        process = _supervisor(folder, command, output.fileno(), attached=attached)
    _wait(folder, lambda: process.poll() is None, on_answer)
    if process.poll() is None:
        return process
    if datafolder.is_held(folder):  # another `up` was faster
        _wait(folder, lambda: datafolder.is_held(folder), _nobody)
        return None
    raise StackError(_last_line(log))


def _nobody(_part: str) -> None:
    """Hears that a part answers."""


def _supervisor(
    folder: DataFolder, command: list[str], output: int, *, attached: bool
) -> subprocess.Popen[bytes]:
    environment = settings.inherited(PROGRESS_DATA_DIR=str(folder.path))
    if attached:
        return processes.start(command, output=output, environment=environment, folder=ROOT)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )


def _wait(
    folder: DataFolder, goes_on: Callable[[], bool], on_answer: Callable[[str], None]
) -> None:
    told: set[str] = set()

    def settled() -> bool:
        if not goes_on():
            return True
        state = folder.state()
        if state is None or not processes.is_alive(state.supervisor):
            return False
        for part in state.answering:
            if part not in told:
                told.add(part)
                on_answer(part)
        return state.phase == "ready"

    readiness.wait(settled, "the local stack", seconds=_START_WITHIN)


def down(folder: DataFolder) -> bool:
    """Stop the stack and whatever a killed one has left; False where nothing ran."""
    ran = datafolder.is_held(folder)
    if ran:
        # One that has just begun has not said yet who it is.
        readiness.wait(lambda: not datafolder.is_held(folder) or _told(folder), "the supervisor")
    state = folder.state()
    if state is None:
        return ran
    if processes.is_alive(state.supervisor):
        os.kill(state.supervisor.pid, signal.SIGTERM)
        readiness.wait(
            lambda: not processes.is_alive(state.supervisor), "the end", seconds=_STOP_WITHIN
        )
    left = [process for process in state.processes.values() if processes.is_alive(process)]
    processes.end_all([*state.processes.values()], seconds=10)
    postgres.kill_left(folder.postgres)
    return ran or bool(left)


def _told(folder: DataFolder) -> bool:
    state = folder.state()
    return state is not None and processes.is_alive(state.supervisor)


def running(folder: DataFolder) -> State:
    """What runs and where; StackError where nothing does."""
    state = folder.state()
    if state is None or state.phase != "ready" or not processes.is_alive(state.supervisor):
        raise StackError("the local stack does not run: start it with `progress up`")
    return state


def pids(state: State) -> dict[str, list[int]]:
    """The numbers of the processes that run now, by the names of the parts."""
    found = {name: processes.family(process) for name, process in state.processes.items()}
    # What runs to an end, like the batch job, is named while it does.
    present = {name: ids for name, ids in found.items() if ids or name in state.answering}
    return present | {"supervisor": [state.supervisor.pid]}


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines[-1] if lines else f"the supervisor ended without a word; see {log}"
