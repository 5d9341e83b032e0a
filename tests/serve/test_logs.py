"""The local stack's logs: a limited size, and processes on a full disk."""

import re
import subprocess
import sys
from pathlib import Path

from progress.serve import log_files
from tests.support import folders

LIMIT = 100_000

_WRITES = """
import os, sys, time
for number in range(1_500):
    os.write(1, f"{sys.argv[1]} {number} {'x' * (number * 977 % 200)};\\n".encode())
    time.sleep(0.0005)
"""


def test_a_log_is_cut_while_several_processes_write(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    command = [sys.executable, "-c", _WRITES]
    with log_files.open_log(log) as output:
        programs = [subprocess.Popen([*command, name], stdout=output) for name in "abc"]
    cuts = 0
    while any(program.poll() is None for program in programs):
        before = log.stat().st_size
        log_files.cut_all(tmp_path, LIMIT)
        cuts += log.stat().st_size < before
    assert cuts >= 2
    text = log.with_suffix(".log.old").read_text() + log.read_text()
    for name in "abc":
        lines = re.findall(rf"^{name} (\d+) x*;$", text, re.MULTILINE)
        first, last = int(lines[0]), int(lines[-1])
        assert last == 1_499
        assert len({*lines}) == len(lines) >= last - first + 1 - 2  # a cut may lose a line
    assert folders.list_open_files(tmp_path) == []


_LOGS = """
from progress.adapters.telemetry import logs
import sys
for number in range(1_000):
    logs.write("INFO", "y" * 999)
open(sys.argv[1], "w").close()
"""


def test_a_full_disk_does_not_stop_a_process_or_the_cuts(tmp_path: Path) -> None:
    disk, done = tmp_path / "disk", tmp_path / "done"
    disk.mkdir()
    with folders.mount(disk, "size=256k"):
        log = disk / "part.log"
        with log_files.open_log(log) as output:
            command = [sys.executable, "-c", _LOGS, str(done)]
            subprocess.run(command, stdout=output, stderr=output, check=False)
        assert done.exists()
        size = log.stat().st_size
        assert size > 100_000
        log_files.cut_all(disk, LIMIT)
        assert log.stat().st_size == size
