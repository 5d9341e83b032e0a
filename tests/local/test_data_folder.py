"""The access to the data folder of a local stack: only its owner has it."""

import json
import os
import pwd
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from progress.errors import StackError
from progress.local import data_folder, postgres, readiness
from tests.local.test_stack import Stack, stack
from tests.support import folders

__all__ = ["stack"]

MASKS = (0o000, 0o022)
OLD_FILES = (
    *("archive/ranges/1/file.parquet", "exports/1.zip", "logs/query.log", "codes/code"),
    *("run/query/file", "development-key.pem", "lock", "stack.json"),
)


def write_old_folder(folder: Path) -> None:
    """Create the files of an earlier version, which other users can read."""
    for name in OLD_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of an earlier version\n")
        (folder / name).chmod(0o644)
    (folder / "VERSION").write_text(f"{data_folder.VERSION}\n")
    (folder / "postgres").mkdir()


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("has_version", [True, False])
def test_a_folder_of_an_earlier_version_becomes_private(
    tmp_path: Path, mask: int, has_version: bool
) -> None:
    folder = tmp_path / "data"
    with folders.umask(mask):
        write_old_folder(folder)
        if not has_version:
            (folder / "VERSION").unlink()
        folder.chmod(0o777)
        assert folders.list_open_files(folder)
        data_folder.make_usable(data_folder.at(str(folder)))
    assert folders.list_open_files(folder) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mask", MASKS)
def test_a_new_folder_is_private(tmp_path: Path, mask: int) -> None:
    folder = tmp_path / "data"
    with folders.umask(mask):
        data_folder.make_usable(data_folder.at(str(folder)))
    assert folders.list_open_files(folder) == []


def test_a_shared_folder_and_the_targets_of_links_keep_their_permissions(tmp_path: Path) -> None:
    shared, target = tmp_path / "shared", tmp_path / "target"
    with folders.umask(0o022):
        shared.mkdir()
        (shared / "other").write_text("of another program")
        (target / "ranges").mkdir(parents=True)
        (shared / "archive").symlink_to(target)
        before = modes(shared), modes(target)
        data_folder.make_usable(data_folder.at(str(shared)))
    kept = {name: mode for name, mode in modes(shared).items() if name in before[0]}
    assert (kept, modes(target)) == before
    assert {modes(shared)[name] for name in ("VERSION", "logs")} == {0o600, 0o700}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who runs PostgreSQL as another user")
def test_only_the_account_of_postgresql_can_pass_through_a_folder_of_root() -> None:
    with folders.create("pass") as place:
        folder = data_folder.at(str(place / "data"))
        for _ in range(2):
            data_folder.make_usable(folder)
            postgres.prepare(folder.postgres)
            account = pwd.getpwnam(postgres.account() or "")
            state = folder.path.stat()
            assert (stat.S_IMODE(state.st_mode), state.st_gid) == (0o710, account.pw_gid)
        command = ["test", "-w", str(folder.postgres / "PG_VERSION")]
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        assert subprocess.run(command, check=False, **user).returncode == 0  # type: ignore[call-overload]
        nobody = pwd.getpwnam("nobody")
        other = user | {"user": nobody.pw_uid, "group": nobody.pw_gid}
        for path in (folder.logs, folder.path / "VERSION"):
            for who in (user, other):
                command = ["test", "-r", str(path)]
                assert subprocess.run(command, check=False, **who).returncode == 1  # type: ignore[call-overload]


def test_a_socket_folder_of_another_user_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep, temporary = tmp_path.joinpath(*["deep"] * 30), tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    short = postgres.socket_folder(deep)
    assert (short.parent, stat.S_IMODE(short.stat().st_mode)) == (temporary, 0o700)
    short.chmod(0o777)
    assert stat.S_IMODE(postgres.socket_folder(deep).stat().st_mode) == 0o700
    short.rename(tmp_path / "other")
    short.symlink_to(tmp_path / "other")
    with pytest.raises(StackError, match="belongs to another user: remove it"):
        postgres.socket_folder(deep)


@pytest.mark.exhaustive
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mask", MASKS)
def test_only_the_owner_can_access_the_files_of_a_stack(stack: Stack, mask: int) -> None:
    with folders.umask(mask):
        write_old_folder(stack.folder)
        for name in ("development-key.pem", "stack.json"):  # the text is neither
            (stack.folder / name).unlink()
        assert stack.up().returncode == 0
        assert stack.run("token", "--user", "u").returncode == 0
        assert stack.run("open", "--user", "u").returncode == 0
        assert stack.run("schedule", "pause").returncode == 0
        assert folders.list_open_files(stack.folder) == []
        # The supervisor restarts a killed log writer and a killed server.
        before = stack.env()["pids"]
        for pid in (*before["logs"], *before["postgres"][:1]):
            os.kill(pid, signal.SIGKILL)
        for name in ("logs", "postgres"):
            readiness.wait(
                lambda name=name: (
                    stack.env()["pids"].get(name, [])[:1]  # type: ignore[misc]
                    not in ([], before[name][:1])
                ),
                name,
            )
        line = json.dumps({"event_id": "1", "event_type": "Something", "data": {}})
        assert stack.run("publish", "-", "--wait", text=line).returncode == 0
        readiness.wait(lambda: "1 ranges" in stack.run("archive", "--now").stdout, "PostgreSQL")
        assert stack.run("down").returncode == 0
        log = (stack.folder / "logs" / "query.log").read_text()
        assert log.startswith("of an earlier version\n")
        assert "database system is shut down" in (stack.folder / "logs/postgres.log").read_text()
        assert folders.list_open_files(stack.folder) == []
