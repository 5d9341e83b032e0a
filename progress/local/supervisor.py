"""The supervisor: it starts the stack's processes, restarts dead ones, and stops all in order."""

import argparse
import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine
from typing import Any

from progress import settings
from progress.errors import ProgressError, StackError
from progress.local import data_folder, development_key, plan, postgres, processes, schedule
from progress.local.data_folder import DataFolder, State
from progress.local.issuer import Issuer
from progress.local.log_files import LogSockets, OwnLog
from progress.local.ports import HOST
from progress.local.process_specs import Part

log = logging.getLogger("progress.local")

_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_MAX_PAUSE_S = 0.8  # so that a dead process is restarted within a second


class Supervisor:
    """The processes of a stack. Only the main thread starts them.

    On Linux, each process receives its stop signal when the thread that started it ends.
    """

    def __init__(self, folder: DataFolder, stack: plan.Plan) -> None:
        self._folder = folder
        self._state = State(
            supervisor=processes.identify(os.getpid()), phase="starting", addresses=stack.addresses
        )
        self._logs = LogSockets(folder.logs, stack.names)
        self._writer = self._start_writer()
        self._running: dict[str, tuple[Part, subprocess.Popen[bytes]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._child_exit = asyncio.Event()
        self._start_task(self._keep_writer())
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._on_child_exit)

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
        self._write()

    async def run(self, part: Part) -> None:
        """Run a command to its end; raise StackError if it fails."""
        if await self._wait(self._start(part)):
            raise StackError(await self._format_end(part))

    async def try_run(self, part: Part) -> bool:
        """Run a command to its end; if it fails, log the error and return False."""
        try:
            await self.run(part)
        except (StackError, OSError) as error:
            log.error("%s", error)  # the log of the command has the details
            return False
        return True

    async def stop(self) -> None:
        """Stop all processes: first those that depend on others, PostgreSQL last."""
        for task in self._tasks:
            task.cancel()
        stop_last = ("pubsub", "valkey", "postgres")
        others = [name for name in self._running if name not in stop_last]
        for names in (others, *([name] for name in stop_last)):
            await asyncio.gather(*(self._stop(name) for name in names if name in self._running))
        self._logs.close()
        await self._wait_or_kill(self._writer, "the writer of the logs")

    async def _start_and_wait(self, part: Part) -> None:
        process = self._start(part)
        pause, deadline = 0.01, time.monotonic() + _READY_TIMEOUT_S
        while not await part.answers():
            if process.poll() is not None:
                raise StackError(await self._format_end(part))
            if time.monotonic() > deadline:
                raise StackError(f"{part.name} is not ready; see {self._folder.log(part.name)}")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        if part.then:
            await self.run(part.then)
        self._state.answering.append(part.name)
        self._write()
        log.info("%s is ready", part.name)

    async def _restart(self, part: Part) -> None:
        pause, set_up = 0.0, None
        while True:
            waits_since = time.monotonic()
            code = await self._wait(self._running[part.name][1])
            self._clear(part)
            if set_up:
                set_up.cancel()
            log.warning("%s ended (%s): starting it again", part.name, code)
            pause = (
                0.0 if time.monotonic() - waits_since > 5 else min(2 * pause + 0.05, _MAX_PAUSE_S)
            )
            await asyncio.sleep(pause)
            try:
                self._start(part)
            except OSError as error:  # such as a full disk: try again
                log.error("%s cannot be started: %s", part.name, error)
                continue
            if part.then:
                set_up = self._start_task(self._set_up_again(part, part.then))

    def _start_writer(self) -> subprocess.Popen[bytes]:
        writer = self._logs.start()
        self._state.processes["logs"] = processes.identify(writer.pid)
        self._write()
        return writer

    async def _keep_writer(self) -> None:
        """Restart the writer of the logs; without it, the sockets fill up and processes block."""
        while True:
            code = await self._wait(self._writer)
            log.warning("the writer of the logs ended (%s): starting it again", code)
            await asyncio.sleep(_MAX_PAUSE_S)
            self._writer = self._start_writer()

    async def _set_up_again(self, part: Part, then: Part) -> None:
        while not await part.answers():
            await asyncio.sleep(0.05)
        while not await self.try_run(then):
            await asyncio.sleep(_MAX_PAUSE_S)

    def _clear(self, part: Part) -> None:
        """Kill a dead process's children. Also kill `part.then`, which may wait for the process."""
        processes.kill_group(self._state.processes[part.name])
        if part.clear:
            part.clear()
        if part.then and part.then.name in self._running:
            self._running[part.then.name][1].kill()

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
            output=self._logs.writer(part.name),
            environment=settings.child_env(**part.environment),
            folder=part.folder,
            account=part.account,
            at_parent_death=part.stop,
        )
        self._running[part.name] = (part, process)
        self._state.processes[part.name] = processes.identify(process.pid)
        self._write()
        return process

    async def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while (code := process.poll()) is None:
            await self._child_exit.wait()
        return code

    async def _stop(self, name: str) -> None:
        part, process = self._running.pop(name)
        if process.poll() is None:
            process.send_signal(part.stop)
        await self._wait_or_kill(process, name)
        processes.kill_group(self._state.processes[name])

    async def _wait_or_kill(self, process: subprocess.Popen[bytes], name: str) -> None:
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._wait(process)
        except TimeoutError:
            log.warning("%s did not stop: killing it", name)
            process.kill()
            await self._wait(process)

    def _on_child_exit(self) -> None:
        self._child_exit.set()
        self._child_exit = asyncio.Event()

    async def _format_end(self, part: Part) -> str:
        await self._logs.flush(part.name)
        file = self._folder.log(part.name)
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        lines = [line for line in text.splitlines() if line.strip()] or ["it wrote nothing"]
        return f"{part.name} ended: {lines[-1].strip()} (see {file})"

    def _write(self) -> None:
        self._folder.write(self._state)


async def supervise(folder: DataFolder, port: int, *, standin: bool) -> None:
    """Start the stack and keep it running until SIGTERM or SIGINT."""
    end_leftovers(folder)
    stack = plan.make(folder, port, settings.current(), standin=standin)
    supervisor = Supervisor(folder, stack)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    development_key.ensure(folder.key)
    server = await asyncio.start_server(
        Issuer(folder, port=stack.jwks_port, page_port=port).answer, HOST, stack.jwks_port
    )
    running = asyncio.create_task(_run(supervisor, stack, folder))
    stopped = asyncio.create_task(stopping.wait())
    removed = asyncio.create_task(_wait_for_removal(folder))
    try:
        ends: set[asyncio.Future[Any]] = {running, stopped, removed, supervisor.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for failed in (running, supervisor.failed):
            if failed.done():
                await failed
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()
        await supervisor.stop()
        postgres.tidy(folder.postgres)


async def _wait_for_removal(folder: DataFolder) -> None:
    """Return once the data folder is deleted; no command can then find the stack and stop it."""
    while folder.lock.exists():
        await asyncio.sleep(1)
    log.warning("the data folder is gone: stopping")


def end_leftovers(folder: DataFolder) -> None:
    """End the processes that a killed supervisor has left behind."""
    if state := folder.state():
        processes.end_all([*state.processes.values()], seconds=_STOP_TIMEOUT_S)
        postgres.kill_leftovers(folder.postgres)


async def _run(supervisor: Supervisor, stack: plan.Plan, folder: DataFolder) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.keep(*stack.independent))
        if stack.server:
            await supervisor.keep(stack.server)
        plan.prepare(stack, folder)
        group.create_task(supervisor.keep(*stack.dependent))
    if not any(part.then for part in (*stack.independent, *stack.dependent)):
        await supervisor.run(stack.topology)
    supervisor.set_ready()
    await schedule.keep(folder, lambda: supervisor.try_run(stack.batch))


def main() -> None:
    """Run the supervisor; on an error, print the message as the last line and exit with 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--standin", action="store_true")
    options = parser.parse_args()
    os.umask(0o077)  # files of the processes are accessible to their owner only
    folder = data_folder.at(settings.current().progress_data_dir)
    handlers = [OwnLog(folder.log("supervisor"))]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    try:
        with data_folder.hold(folder, timeout_s=1) as is_free:
            if is_free:
                asyncio.run(supervise(folder, options.port, standin=options.standin))
    except* ProgressError as errors:
        sys.exit(str(_first(errors)))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    main()
