"""A supervisor: it starts processes, restarts dead ones, and stops all in order."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Coroutine
from typing import Any

from progress import settings
from progress.errors import StackError
from progress.serve import log_files, processes
from progress.serve.data_folder import DataFolder, StackState
from progress.serve.process_specs import Part

log = logging.getLogger("progress.serve")

_READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
_MAX_PAUSE_S = 0.8  # so that a dead process is restarted within a second


class Supervisor:
    """The processes of a folder. Only the main thread starts them.

    On Linux, each process receives its stop signal when the thread that started it ends.
    """

    def __init__(
        self, folder: DataFolder, addresses: dict[str, str], key: str, *logged: str
    ) -> None:
        """Give each process of `logged` a log file; the others write to this standard output."""
        self._folder = folder
        own = processes.identify(os.getpid())
        self._state = StackState(supervisor=own, phase="starting", addresses=addresses, key=key)
        self._running: dict[str, tuple[Part, subprocess.Popen[bytes]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._child_exit = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._on_child_exit)
        self._stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)
        self._logs = {name: log_files.open_log(folder.log(name)) for name in logged}
        if logged:
            self._start_task(log_files.keep_small(folder.logs))

    async def run_until_stopped(
        self, work: Coroutine[None, None, None], *ends: Awaitable[None]
    ) -> None:
        """Run `work` until SIGTERM, SIGINT or one of the `ends`; then cancel what is left.

        Raise the error of `work`, or of a task of this supervisor.
        """
        running = asyncio.ensure_future(work)
        others = [asyncio.ensure_future(end) for end in (self._stopping.wait(), *ends)]
        try:
            every: set[asyncio.Future[Any]] = {running, *others, self.failed}
            await asyncio.wait(every, return_when=asyncio.FIRST_COMPLETED)
            for failed in (running, self.failed):
                if failed.done():
                    await failed
        finally:
            for task in (running, *others):
                task.cancel()
            await asyncio.gather(running, *others, return_exceptions=True)

    async def keep(self, *parts: Part) -> None:
        """Start processes in parallel, and wait until all are ready.

        Raise StackError if a process ends before it is ready. Once all processes are ready, start
        tasks that restart each process that ends.
        """
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self._start_and_wait(part))
        for part in parts:
            self._start_task(self._restart(part))

    def set_ready(self) -> None:
        self._state.phase = "ready"
        self._folder.write(self._state)

    async def run(self, part: Part) -> bool:
        """Run a command to its end; if it fails, log the error and return False."""
        try:
            if not await self._wait(self._start(part)):
                return True
            log.error("%s", self._format_end(part))
        except OSError as error:
            log.error("%s", error)
        return False

    def end_restarts(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def stop_parts(self, *names: str) -> None:
        await asyncio.gather(*(self._stop(name) for name in names if name in self._running))

    async def stop(self, *last: str) -> None:
        """Stop all processes: those of `last` after the others, one after the other."""
        self.end_restarts()
        await self.stop_parts(*(name for name in self._running if name not in last))
        for name in last:
            await self.stop_parts(name)
        for file in self._logs.values():
            file.close()

    async def _start_and_wait(self, part: Part) -> None:
        process = self._start(part)
        pause, deadline = 0.01, time.monotonic() + _READY_TIMEOUT_S
        while not await part.answers():
            if process.poll() is not None:
                raise StackError(self._format_end(part))
            if time.monotonic() > deadline:
                raise StackError(f"{part.name} is not ready; see its log")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        self._state.answering.append(part.name)
        self._folder.write(self._state)
        log.info("%s is ready", part.name)

    async def _restart(self, part: Part) -> None:
        pause = 0.0
        while True:
            waits_since = time.monotonic()
            code = await self._wait(self._running[part.name][1])
            processes.kill_group(self._state.processes[part.name])
            if part.clear:
                part.clear()
            log.warning("%s ended (%s): starting it again", part.name, code)
            has_run = time.monotonic() - waits_since > 5
            pause = 0.0 if has_run else min(2 * pause + 0.05, _MAX_PAUSE_S)
            await asyncio.sleep(pause)
            try:
                self._start(part)
            except OSError as error:  # such as a full disk: try again
                log.error("%s cannot be started: %s", part.name, error)

    def _start_task(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)
        return task

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        """Set `failed` if a task fails. This ends the stack: no other task takes over the work."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self.failed.done():
            self.failed.set_exception(error)

    def _start(self, part: Part) -> subprocess.Popen[bytes]:
        process = processes.start(
            part.command,
            output=self._logs.get(part.name) or sys.stdout.fileno(),
            environment=settings.child_env(**part.environment),
            folder=part.folder,
            account=part.account,
            at_parent_death=part.stop,
        )
        self._running[part.name] = (part, process)
        self._state.processes[part.name] = processes.identify(process.pid)
        self._folder.write(self._state)
        return process

    async def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while (code := process.poll()) is None:
            await self._child_exit.wait()
        return code

    async def _stop(self, name: str) -> None:
        part, process = self._running.pop(name)
        if process.poll() is None:
            process.send_signal(part.stop)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._wait(process)
        except TimeoutError:
            log.warning("%s did not stop: killing it", name)
            process.kill()
            await self._wait(process)
        processes.kill_group(self._state.processes[name])

    def _on_child_exit(self) -> None:
        self._child_exit.set()
        self._child_exit = asyncio.Event()

    def _format_end(self, part: Part) -> str:
        if part.name not in self._logs:
            return f"{part.name} ended; see its lines above"
        file = self._folder.log(part.name)
        text = file.read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip()] or ["it wrote nothing"]
        return f"{part.name} ended: {lines[-1].strip()} (see {file})"


def first_error(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
