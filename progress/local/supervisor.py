"""The process that starts the stack's parts, starts again what dies, and stops all in order."""

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
from progress.local import datafolder, devkeys, plan, postgres, processes
from progress.local.datafolder import DataFolder, State
from progress.local.issuer import Issuer
from progress.local.logfiles import LogSockets, OwnLog
from progress.local.parts import Part
from progress.local.ports import HOST

log = logging.getLogger("progress.local")

BATCH_EVERY = 300.0  # seconds, as Cloud Scheduler does

_READY_WITHIN = 60.0
_STOP_WITHIN = 10.0
_LONGEST_PAUSE = 0.8  # a part that dies is back within a second, less its own start


class Supervisor:
    """Keeps parts running; everything happens in one thread, which the parts' lives hang on."""

    def __init__(self, folder: DataFolder, stack: plan.Plan) -> None:
        self._folder = folder
        self._state = State(
            supervisor=processes.known(os.getpid()), phase="starting", addresses=stack.addresses
        )
        self._logs = LogSockets(folder.logs, stack.names)
        self._writer = self._start_writer()
        self._running: dict[str, tuple[Part, subprocess.Popen[bytes]]] = {}
        self._keepers: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._a_child_died = asyncio.Event()
        self._keep_on(self._kept_writing())
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._child_died)

    async def keep(self, *parts: Part) -> None:
        """Start the parts side by side, and return when all have answered.

        From then on each is started again when it ends. StackError where one ends first.
        """
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self._started(part))
        for part in parts:
            self._keep_on(self._kept(part))

    def ready(self) -> None:
        """Let everyone know that all parts answer."""
        self._state.phase = "ready"
        self._write()

    async def run(self, part: Part) -> None:
        """Run a part to its end; StackError where it fails."""
        if await self._ended(self._start(part)):
            raise StackError(await self._why_it_ended(part))

    async def tried(self, part: Part) -> bool:
        """Run a part to its end; False where it fails, and the log says so."""
        try:
            await self.run(part)
        except (StackError, OSError) as fault:
            log.error("%s", fault)  # the part's own log has the rest
            return False
        return True

    async def stop(self) -> None:
        """End all parts, the last started first, PostgreSQL when nobody needs it any more."""
        for keeper in self._keepers:
            keeper.cancel()
        needed_last = ("pubsub", "valkey", "postgres")
        early = [name for name in self._running if name not in needed_last]
        for names in (early, *([name] for name in needed_last)):
            await asyncio.gather(*(self._stopped(name) for name in names if name in self._running))
        self._logs.close()
        await self._ended_within(self._writer, "the writer of the logs")

    async def _started(self, part: Part) -> None:
        process = self._start(part)
        pause, deadline = 0.01, time.monotonic() + _READY_WITHIN
        while not await part.answers():
            if process.poll() is not None:
                raise StackError(await self._why_it_ended(part))
            if time.monotonic() > deadline:
                raise StackError(f"{part.name} does not answer; see {self._folder.log(part.name)}")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        if part.then:
            await self.run(part.then)
        self._state.answering.append(part.name)
        self._write()
        log.info("%s answers", part.name)

    async def _kept(self, part: Part) -> None:
        pause, setting_up = 0.0, None
        while True:
            began = time.monotonic()
            code = await self._ended(self._running[part.name][1])
            self._clear(part)
            if setting_up:
                setting_up.cancel()
            log.warning("%s ended (%s): starting it again", part.name, code)
            pause = 0.0 if time.monotonic() - began > 5 else min(2 * pause + 0.05, _LONGEST_PAUSE)
            await asyncio.sleep(pause)
            try:
                self._start(part)
            except OSError as fault:  # a full disk, perhaps: it may have room again
                log.error("%s cannot be started: %s", part.name, fault)
                continue
            if part.then:
                setting_up = self._keep_on(self._set_up_again(part, part.then))

    def _start_writer(self) -> subprocess.Popen[bytes]:
        writer = self._logs.start()
        self._state.processes["logs"] = processes.known(writer.pid)
        self._write()
        return writer

    async def _kept_writing(self) -> None:
        """Keep the logs written: a part that is not read waits when its socket is full."""
        while True:
            code = await self._ended(self._writer)
            log.warning("the writer of the logs ended (%s): starting it again", code)
            await asyncio.sleep(_LONGEST_PAUSE)
            self._writer = self._start_writer()

    async def _set_up_again(self, part: Part, then: Part) -> None:
        while not await part.answers():
            await asyncio.sleep(0.05)
        while not await self.tried(then):
            await asyncio.sleep(_LONGEST_PAUSE)

    def _clear(self, part: Part) -> None:
        """End what is left of a part that died, and what sets it up: that waits for it."""
        processes.kill_group(self._state.processes[part.name])
        if part.clear:
            part.clear()
        if part.then and part.then.name in self._running:
            self._running[part.then.name][1].kill()

    def _keep_on(self, doing: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(doing)
        self._keepers.add(task)
        task.add_done_callback(self._keeper_ended)
        return task

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        """A part that nobody keeps any more is no stack: who waits for `failed` ends it."""
        self._keepers.discard(keeper)
        if not keeper.cancelled() and (fault := keeper.exception()) and not self.failed.done():
            self.failed.set_exception(fault)

    def _start(self, part: Part) -> subprocess.Popen[bytes]:
        process = processes.start(
            part.command,
            output=self._logs.writer(part.name),
            environment=settings.inherited(**part.environment),
            folder=part.folder,
            account=part.account,
            at_parent_death=part.stop,
        )
        self._running[part.name] = (part, process)
        self._state.processes[part.name] = processes.known(process.pid)
        self._write()
        return process

    async def _ended(self, process: subprocess.Popen[bytes]) -> int:
        while (code := process.poll()) is None:
            await self._a_child_died.wait()
        return code

    async def _stopped(self, name: str) -> None:
        part, process = self._running.pop(name)
        if process.poll() is None:
            process.send_signal(part.stop)
        await self._ended_within(process, name)
        processes.kill_group(self._state.processes[name])

    async def _ended_within(self, process: subprocess.Popen[bytes], name: str) -> None:
        try:
            async with asyncio.timeout(_STOP_WITHIN):
                await self._ended(process)
        except TimeoutError:
            log.warning("%s did not stop: killing it", name)
            process.kill()
            await self._ended(process)

    def _child_died(self) -> None:
        self._a_child_died.set()
        self._a_child_died = asyncio.Event()

    async def _why_it_ended(self, part: Part) -> str:
        await self._logs.written(part.name)
        file = self._folder.log(part.name)
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        said = [line for line in text.splitlines() if line.strip()] or ["it said nothing"]
        return f"{part.name} ended: {said[-1].strip()} (all of it in {file})"

    def _write(self) -> None:
        self._folder.write(self._state)


async def supervise(folder: DataFolder, port: int, *, standin: bool) -> None:
    """Start the stack and keep it until SIGTERM or SIGINT."""
    sweep(folder)
    stack = plan.draw(folder, port, settings.current(), standin=standin)
    supervisor = Supervisor(folder, stack)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    devkeys.ensure(folder.key)
    door = await asyncio.start_server(
        Issuer(folder, port=stack.jwks_port, page_port=port).answer, HOST, stack.jwks_port
    )
    run = asyncio.create_task(_run(supervisor, stack, folder))
    until = asyncio.create_task(stopping.wait())
    removed = asyncio.create_task(_removed(folder))
    try:
        ends: set[asyncio.Future[Any]] = {run, until, removed, supervisor.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for failed in (run, supervisor.failed):
            if failed.done():
                await failed
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        door.close()
        await supervisor.stop()
        postgres.tidy(folder.postgres)


async def _removed(folder: DataFolder) -> None:
    """Until somebody deletes the data folder: nobody could ask this stack to stop then."""
    while folder.lock.exists():
        await asyncio.sleep(1)
    log.warning("the data folder is gone: stopping")


def sweep(folder: DataFolder) -> None:
    """End what a supervisor that was killed has left behind."""
    if left := folder.state():
        processes.end_all([*left.processes.values()], seconds=_STOP_WITHIN)
        postgres.kill_left(folder.postgres)


async def _run(supervisor: Supervisor, stack: plan.Plan, folder: DataFolder) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.keep(*stack.beside))
        if stack.server:
            await supervisor.keep(stack.server)
        plan.prepare(stack, folder)
        group.create_task(supervisor.keep(*stack.above))
    if not any(part.then for part in (*stack.beside, *stack.above)):
        await supervisor.run(stack.topology)
    supervisor.ready()
    while True:
        await supervisor.tried(stack.batch)
        await asyncio.sleep(BATCH_EVERY)


def main() -> None:
    """Run the stack in this process; exit code 1 where it cannot, the last line says why."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--standin", action="store_true")
    asked = arguments.parse_args()
    os.umask(0o077)  # what the parts make is their owner's
    folder = datafolder.at(settings.current().progress_data_dir)
    handlers = [OwnLog(folder.log("supervisor"))]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    try:
        with datafolder.held(folder, seconds=1) as free:
            if free:
                asyncio.run(supervise(folder, asked.port, standin=asked.standin))
    except* ProgressError as faults:
        sys.exit(str(_first(faults)))


def _first(fault: BaseException) -> BaseException:
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


if __name__ == "__main__":
    main()
