"""Control the local stack from outside: start it, stop it, and read its state."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from progress import files, settings
from progress.errors import StackError
from progress.serve import data_folder, processes, readiness
from progress.serve.data_folder import DataFolder, StackState

DEFAULT_PORT = 8080  # port of the query function, which also serves the page

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 45.0


def up(
    folder: DataFolder, port: int, *, attached: bool, on_answer: Callable[[str], None]
) -> subprocess.Popen[bytes] | None:
    """Start the stack; return the supervisor once all processes are ready.

    Return None if the stack is already running. Call `on_answer` with the name of each process that
    becomes ready. An attached stack stops when this process ends.
    """
    data_folder.make_usable(folder)
    if not data_folder.is_held(folder):
        log = folder.log("supervisor")
        with data_folder.owner_only():
            output = log.open("ab")
        with output:
            output.truncate(0)
            process = processes.start(
                [sys.executable, "-m", "progress.serve.laptop", "--port", str(port)],
                output=output,
                environment=settings.child_env(PROGRESS_DATA_DIR=str(folder.path)),
                folder=files.ROOT,
                at_parent_death=signal.SIGTERM if attached else None,
            )
        _wait_for_parts(folder, lambda: process.poll() is None, on_answer)
        if process.poll() is None:
            return process
        if not data_folder.is_held(folder):
            lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
            why = f"the supervisor ended without a message; see {log}"
            raise StackError(lines[-1] if lines else why)
    # Another `up` has started the stack.
    _wait_for_parts(folder, lambda: data_folder.is_held(folder), lambda _: None)
    return None


def _wait_for_parts(
    folder: DataFolder, is_running: Callable[[], bool], on_answer: Callable[[str], None]
) -> None:
    reported: set[str] = set()

    def is_settled() -> bool:
        if not is_running():
            return True
        state = folder.state()
        if state is None or not processes.is_alive(state.supervisor):
            return False
        for part in state.answering:
            if part not in reported:
                reported.add(part)
                on_answer(part)
        return state.phase == "ready"

    readiness.wait(is_settled, "the start of the local stack", seconds=_START_TIMEOUT_S)


def down(folder: DataFolder) -> bool:
    """Stop the stack, even if its supervisor was killed; return False if nothing ran."""

    def has_state() -> bool:
        state = folder.state()
        return state is not None and processes.is_alive(state.supervisor)

    ran = data_folder.is_held(folder)
    if ran:
        # A supervisor that has just started has not written its state yet.
        readiness.wait(
            lambda: not data_folder.is_held(folder) or has_state(), "the start of the stack"
        )
    state = folder.state()
    if state is None:
        return ran
    if processes.is_alive(state.supervisor):
        os.kill(state.supervisor.pid, signal.SIGTERM)
        readiness.wait(
            lambda: not processes.is_alive(state.supervisor),
            "the end of the stack",
            seconds=_STOP_TIMEOUT_S,
        )
    left = [process for process in state.processes.values() if processes.is_alive(process)]
    data_folder.end_leftovers(folder)
    return ran or bool(left)


def pids(state: StackState) -> dict[str, list[int]]:
    """Map the name of each process of the stack to its pid and the pids of its descendants."""
    families = {name: processes.family(process) for name, process in state.processes.items()}
    # A command that ends, such as the batch job, is listed only while it runs.
    present = {name: ids for name, ids in families.items() if ids or name in state.answering}
    return present | {"supervisor": [state.supervisor.pid]}
