"""The local stack's logs: a limited size, and processes on a full disk."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from progress.serve import log_files
from tests.support import folders

LIMIT = 100_000


def test_a_cut_keeps_what_processes_write_before_its_last_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, copy, lines = tmp_path / "part.log", shutil.copyfileobj, list[str]()

    def write() -> None:
        for output in (first, second):
            lines.append(f"{len(lines)} {'x' * (len(lines) * 977 % 200)};\n")
            output.write(lines[-1].encode())

    def copy_while_they_write(*files: Any) -> None:
        copy(*files)
        write()
        copy(*files)

    monkeypatch.setattr(shutil, "copyfileobj", copy_while_they_write)
    with log_files.open_log(log) as first, log_files.open_log(log) as second:
        for _ in range(3):
            lines.clear()
            while log.stat().st_size < LIMIT:
                write()
            log_files.cut_all(tmp_path, LIMIT)
            assert log.stat().st_size == 0
            assert log.with_suffix(".log.old").read_text() == "".join(lines)
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
