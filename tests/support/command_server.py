"""A process that has imported the command `progress`, and forks a new process for each run.

A run without this server spends most of its CPU time on imports.
"""

import atexit
import contextlib
import functools
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from progress import cli

ROOT = Path(__file__).parents[2]

_CLIENT = Path(__file__).with_name("command_client.py")
_LENGTH = 8  # A request begins with its length, in this number of bytes.


def command() -> list[str]:
    """Return the command that runs `progress` with the arguments that the caller appends."""
    return [sys.executable, "-IS", str(_CLIENT), _start()]


@functools.cache
def _start() -> str:
    """Start the server, which ends with this process; return the path of its socket."""
    folder = tempfile.mkdtemp(prefix="progress-commands-")
    address = f"{folder}/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(100)
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(listener.fileno())],
            stdin=subprocess.PIPE,  # This pipe ends with this process; then the server exits.
            # The runs inherit `sys.stdout`. A pipe is not seekable, like the output of most runs.
            stdout=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            cwd=ROOT,
            start_new_session=True,
        )

    def stop() -> None:
        server.communicate()
        shutil.rmtree(folder)

    atexit.register(stop)
    return address


def serve(listener: socket.socket) -> None:
    """Run a command for each connection, until stdin ends."""
    cli.build_app()  # imports the modules of all commands
    # The server does not wait for the forked processes.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _supervise(connection)
            return
        connection.close()


def _supervise(connection: socket.socket) -> None:
    """Run the command in a child; send its exit code. Kill the child if the client has ended."""
    length, files, _, _ = socket.recv_fds(connection, _LENGTH, 3)
    request = connection.recv(int.from_bytes(length), socket.MSG_WAITALL)
    ended, held = os.pipe()  # only the child keeps `held` open, until it ends
    if (child := os.fork()) == 0:
        connection.close()
        os.close(ended)
        _run(files, **json.loads(request))
        return
    os.close(held)
    ready, _, _ = select.select([ended, connection.fileno()], [], [])
    if ended not in ready:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(code.to_bytes(4, signed=True))


def _run(files: list[int], arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Run the command with the client's files, environment and folder."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    runpy.run_module("progress.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
