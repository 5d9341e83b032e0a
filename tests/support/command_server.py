"""A server that imports the command `progress` once, and runs each command in a forked process.

Without this server, a command spends most of its CPU time on imports.
"""

import atexit
import contextlib
import functools
import gc
import io
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
_LENGTH = 8  # A request begins with its length, which is encoded in this number of bytes.


def command() -> list[str]:
    """Return the command that runs `progress` with the arguments that the caller appends."""
    return [sys.executable, "-IS", str(_CLIENT), _start()]


@functools.cache
def _start() -> str:
    """Start the server; return its socket's path. The server exits when this process ends."""
    folder = tempfile.mkdtemp(prefix="progress-commands-")
    address = f"{folder}/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(100)
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(listener.fileno())],
            # When this process ends, the pipe closes and the server exits.
            stdin=subprocess.PIPE,
            # When the server starts, Python stores in `sys.stdout` whether the output is seekable.
            # A pipe is not. Each command inherits this object; its output is usually a pipe too.
            # If the object said "seekable", `sys.stdout.reconfigure` would fail in the command.
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
    app = cli.build_app()  # imports the modules of all commands
    # The first parsed command imports more: pydantic and rich.
    with contextlib.redirect_stdout(io.StringIO()):
        app(["env", "--help"], standalone_mode=False)
    # A forked process would copy the memory of each object that its garbage collector visits.
    gc.freeze()
    # Let the kernel reap the forked processes: the server does not wait for them.
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
    """Run the command in a child process, and send the exit code to the client.

    If the client ends first, kill the child.
    """
    length, files, _, _ = socket.recv_fds(connection, _LENGTH, 3)
    request = connection.recv(int.from_bytes(length), socket.MSG_WAITALL)
    # Only the child keeps `held` open. When the child ends, `ended` becomes readable.
    ended, held = os.pipe()
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
    os._exit(0)  # an ordinary end would visit, and thus copy, all objects of the server


def _run(files: list[int], arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Run the command with the client's standard streams, environment and working folder."""
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
