"""The supervisor of the local stack, with a log file for each process."""

import argparse
import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

from progress import settings
from progress.errors import ProgressError
from progress.local import (
    data_folder,
    development_key,
    plan,
    postgres,
    processes,
    schedule,
    supervision,
)
from progress.local.data_folder import DataFolder
from progress.local.issuer import Issuer
from progress.local.log_files import LogSockets, OwnLog
from progress.local.ports import HOST
from progress.local.process_specs import Part
from progress.local.supervision import Supervisor

log = logging.getLogger("progress.local")

_WRITER_PAUSE_S = 0.8
_STOP_LAST = ("pubsub", "valkey", "postgres")


class StackSupervisor(Supervisor):
    """The processes of a local stack, and the writer of their logs."""

    def __init__(self, folder: DataFolder, stack: plan.Plan) -> None:
        super().__init__(folder, stack.addresses)
        self._logs = LogSockets(folder.logs, stack.names)
        self._writer = self._start_writer()
        self._start_task(self._keep_writer())

    async def end(self) -> None:
        """Stop all processes: first those that depend on others, PostgreSQL and the writer last."""
        await self.stop(*_STOP_LAST)
        self._logs.close()
        await self._wait_or_kill(self._writer, "the writer of the logs")

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
            await asyncio.sleep(_WRITER_PAUSE_S)
            self._writer = self._start_writer()

    async def _format_end(self, part: Part) -> str:
        await self._logs.flush(part.name)
        file = self._locate_log(part)
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        lines = [line for line in text.splitlines() if line.strip()] or ["it wrote nothing"]
        return f"{part.name} ended: {lines[-1].strip()} (see {file})"

    def _open_output(self, part: Part) -> int:
        return self._logs.writer(part.name)

    def _locate_log(self, part: Part) -> Path:
        return self._folder.log(part.name)


async def supervise(folder: DataFolder, port: int, *, standin: bool) -> None:
    """Start the stack and keep it running until SIGTERM or SIGINT."""
    supervision.end_leftovers(folder)
    stack = plan.make(folder, port, settings.current(), standin=standin)
    supervisor = StackSupervisor(folder, stack)
    development_key.ensure(folder.key)
    server = await asyncio.start_server(
        Issuer(folder, port=stack.jwks_port, page_port=port).answer, HOST, stack.jwks_port
    )
    try:
        await supervisor.run_until_stopped(
            _run(supervisor, stack, folder), _wait_for_removal(folder)
        )
    finally:
        server.close()
        await supervisor.end()
        postgres.tidy(folder.postgres)


async def _wait_for_removal(folder: DataFolder) -> None:
    """Return once the data folder is deleted; no command can then find the stack and stop it."""
    while folder.lock.exists():
        await asyncio.sleep(1)
    log.warning("the data folder is gone: stopping")


async def _run(supervisor: StackSupervisor, stack: plan.Plan, folder: DataFolder) -> None:
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
        sys.exit(str(supervision.first_error(errors)))


if __name__ == "__main__":
    main()
