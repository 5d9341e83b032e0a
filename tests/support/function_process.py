"""Run functions with functions-framework, as the local stack does."""

import functools
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

from progress import files, settings
from progress.serve import ports, process_specs, processes, readiness
from tests.support import cli, folders, http_client


class Fork(ForkServerProcess):
    def send_signal(self, by: signal.Signals) -> None:
        os.kill(self.pid or 0, by)

    def wait(self, seconds: float | None = None) -> int | None:
        self.join(seconds)
        return self.exitcode

    poll = functools.partialmethod(wait, 0)


@dataclass(frozen=True)
class FunctionProcess:
    port: int
    process: Any  # a Popen or a Fork

    def post(self, body: bytes) -> int | None:
        return http_client.push(self.port, body)

    def responds(self) -> bool:
        try:
            return bool(http_client.fetch(self.port, "GET", "/"))
        except OSError:
            return False

    def peak_memory(self) -> int:
        own = psutil.Process(self.process.pid)
        family = (own, *own.children(recursive=True))
        texts = [Path(f"/proc/{p.pid}/status").read_text(encoding="utf-8") for p in family]
        return sum(int(text.partition("VmHWM:")[2].split()[0]) << 10 for text in texts)

    def worker(self) -> psutil.Process:
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    def count_clients(self) -> int:
        connections = self.worker().net_connections("tcp")
        return sum(c.status == "ESTABLISHED" and c.laddr.port == self.port for c in connections)

    def kill(self) -> None:
        processes.kill_group(processes.identify(self.process.pid))
        self.process.wait()


def edit(name: str, old: str, new: str) -> str:
    """Return the source of a function with `old`, which it must contain, replaced."""
    source = files.ROOT / "functions" / name / "main.py"
    text = source.read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new)


@contextmanager
def run(
    name: str,
    environment: Mapping[str, str],
    text: str = "",
    *,
    port: int = 0,
    log: Path | None = None,
    waits: bool = True,
    forks: bool = False,
) -> Iterator[FunctionProcess]:
    """Run the function during the block, which begins when the function responds, if `waits`.

    `text` replaces its source, and `log` receives its output. By default, the port is any free
    port, and Pub/Sub is unreachable. If `forks`, the process has imported the packages before: it
    starts in a third of the CPU time, but without the settings of its memory.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(folders.create("function"))
        port = port or ports.reserve()
        part = process_specs.function(name, port, {"PROGRESS_DATA_DIR": str(folder)})
        command = [*part.command]
        if text:
            source = folder / "main.py"
            source.write_text(text, encoding="utf-8")
            command += ["--source", str(source)]  # replaces the first --source
        defaults = part.environment | {"PUBSUB_EMULATOR_HOST": f"{ports.HOST}:9"}
        variables = settings.child_env(**{**defaults, **environment})
        process: Any
        if forks:
            streams = [os.devnull, *[str(log or os.devnull)] * 2]
            process = Fork(target=cli.run, args=(command[2], streams, command[3:], variables))
            process.start()
        else:
            output = stack.enter_context(log.open("wb")) if log else subprocess.DEVNULL
            process = processes.start(
                command, output=output, environment=variables, folder=part.folder
            )
        stack.callback(processes.kill_group, processes.identify(process.pid))
        stack.callback(processes.end, process, by=signal.SIGTERM, seconds=10)
        function = FunctionProcess(port, process)
        if waits:
            readiness.wait(function.responds, f"the {name} function", seconds=60)
        yield function
