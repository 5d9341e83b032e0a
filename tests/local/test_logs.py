"""The local stack's logs: full disks, and rotation without lost lines."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from progress.local import log_files, process_specs, readiness
from progress.local.log_files import LogFile, LogSockets
from tests.support import folders

LIMIT = 100_000

# A program that writes numbered lines of up to about 5,500 bytes.
_WRITES = """
import os, sys
name, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(first, last):
    text = f"{name} {number} " + "x" * (number * 977 % 5_500)
    os.write(1, f"{text} {len(text)}\\n".encode())
"""


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[LogSockets]:
    made = LogSockets(tmp_path, ["part"], LIMIT)
    yield made
    made.close()


def write(sockets: LogSockets, name: str, first: int, last: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _WRITES, name, str(first), str(last)]
    return subprocess.Popen(command, stdout=sockets.writer("part"))


def lines(folder: Path) -> list[str]:
    """Return `name number` for each line of both files; assert that each line is complete."""
    files = [folder / "part.log.old", folder / "part.log"]
    text = "".join(file.read_text() for file in files if file.exists())
    assert text.endswith("\n")
    for line in text.splitlines():
        body, _, length = line.rpartition(" ")
        assert len(body) == int(length)
    return [" ".join(line.split()[:2]) for line in text.splitlines()]


def test_no_line_is_lost_or_split_when_a_file_rotates_while_several_processes_write(
    sockets: LogSockets, tmp_path: Path
) -> None:
    writer = sockets.start()
    programs = [write(sockets, name, 0, 20) for name in ("a", "b", "c")]
    assert [program.wait() for program in programs] == [0, 0, 0]
    sockets.close()
    assert writer.wait() == 0
    assert (tmp_path / "part.log.old").exists()
    stored = lines(tmp_path)
    for name in ("a", "b", "c"):
        assert [line for line in stored if line[0] == name] == [f"{name} {n}" for n in range(20)]


def test_a_process_without_output_has_an_empty_log(sockets: LogSockets, tmp_path: Path) -> None:
    writer = sockets.start()
    sockets.close()
    assert writer.wait() == 0
    assert (tmp_path / "part.log").read_bytes() == b""


def test_the_log_files_are_limited_in_size_and_keep_the_newest_lines(
    sockets: LogSockets, tmp_path: Path
) -> None:
    writer = sockets.start()
    assert write(sockets, "a", 0, 1_000).wait() == 0
    sockets.close()
    assert writer.wait() == 0
    for name in ("part.log", "part.log.old"):
        assert (tmp_path / name).stat().st_size <= LIMIT + 6_000  # plus one line
    stored = lines(tmp_path)
    assert stored == [f"a {number}" for number in range(1_000 - len(stored), 1_000)]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > LIMIT


def test_no_line_is_lost_when_a_log_writer_is_killed(sockets: LogSockets, tmp_path: Path) -> None:
    first = sockets.start()
    assert write(sockets, "a", 0, 10).wait() == 0
    readiness.wait(lambda: sockets.is_written("part"), "the writer")
    assert len(lines(tmp_path)) == 10
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert write(sockets, "a", 10, 20).wait() == 0
    assert not sockets.is_written("part")
    second = sockets.start()
    sockets.close()
    assert second.wait() == 0
    assert lines(tmp_path) == [f"a {number}" for number in range(20)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with folders.mount(folder, "size=256k"):
        yield folder


def test_a_full_disk_does_not_block_writers_and_the_number_of_lost_bytes_is_logged_afterwards(
    small_disk: Path,
) -> None:
    log = LogFile(small_disk / "part.log", LIMIT * 100)
    (small_disk / "other").write_bytes(bytes(200_000))
    for _ in range(100):
        log.write(b"y" * 999 + b"\n")
    stored = (small_disk / "part.log").stat().st_size
    assert 0 < stored < 100_000
    (small_disk / "other").unlink()
    log.write(b"again\n")
    text = (small_disk / "part.log").read_bytes()
    assert text.endswith(b"... %d bytes lost: the disk was full\nagain\n" % (100_000 - stored))


_OWN = """
import logging, sys
from pathlib import Path
from progress.local.log_files import OwnLog
logging.basicConfig(level="INFO", handlers=[OwnLog(Path(sys.argv[1]), 1_000)])
for number in range(100):
    logging.info("line %d", number)
    if number == 97:
        print("by another way", file=sys.stderr)
"""


def test_the_log_of_the_supervisor_rotates(tmp_path: Path) -> None:
    log = tmp_path / "supervisor.log"
    with log.open("ab") as output:
        command = [sys.executable, "-c", _OWN, str(log)]
        subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=True)
    files = [log.with_suffix(".log.old"), log]
    output_lines = "".join(file.read_text() for file in files).splitlines()
    numbers = [int(line.rpartition(" ")[2]) for line in output_lines if line != "by another way"]
    assert numbers == list(range(100 - len(numbers), 100))
    assert "by another way" in output_lines
    assert all(file.stat().st_size < 1_100 for file in files)


def test_a_file_rotates_at_ten_megabytes() -> None:
    assert log_files.LIMIT == 10 * 2**20
    with folders.create("limit") as folder:
        log = folder / "part.log"
        log.write_bytes(b"z" * log_files.LIMIT + b"\n")
        LogFile(log, log_files.LIMIT).write(b"next\n")
        assert log.read_bytes() == b"next\n"


def test_each_function_has_a_folder_for_its_control_socket(tmp_path: Path) -> None:
    environment = {"PROGRESS_DATA_DIR": str(tmp_path)}
    part = process_specs.function("ingest", 1, environment)
    assert Path(part.environment["XDG_RUNTIME_DIR"]).is_relative_to(tmp_path)
    # Without this folder, gunicorn would use the home folder.
    assert Path(part.environment["XDG_RUNTIME_DIR"]).is_dir()
    assert folders.list_open_files(tmp_path) == []
