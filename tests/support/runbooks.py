"""The commands in the runbook's code blocks, and a shell that runs them."""

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from progress import settings
from tests.support import cli, programs

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")

_HEADING = re.compile(r"^(#{1,3}) (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_GCLOUD = Path(__file__).with_name("runbook_gcloud.py")


def sections() -> dict[str, str]:
    parts = _HEADING.split(TEXT)
    return dict(zip(parts[2::3], parts[3::3], strict=True))


def blocks(heading: str) -> list[list[str]]:
    return [_commands(block) for block in _BLOCK.findall(sections()[heading])]


def commands() -> list[str]:
    return [command for block in _BLOCK.findall(TEXT) for command in _commands(block)]


def _commands(block: str) -> list[str]:
    return re.sub(r" \\\n +", " ", block).splitlines()


@dataclass
class Shell:
    """A shell in a simulated clone of the repository; `progress` and a fake gcloud are on its path.

    The fake `gcloud` keeps its subscriptions in a file, and records calls. `waits` maps a
    subscription to the time at which its oldest waiting message was published. `old` names the
    subscriptions whose oldest message has waited for almost 7 days.
    """

    folder: Path
    path: list[str]
    environment: Mapping[str, str]
    waits: Mapping[str, float] = field(default_factory=dict)
    old: Sequence[str] = ()

    def __post_init__(self) -> None:
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        for name in ("infra", "docs"):
            (self.folder / name).symlink_to(ROOT / name)
        for name, command in (
            ("progress", cli.COMMAND),
            ("gcloud", [sys.executable, str(_GCLOUD)]),
            *((name, [sys.executable, str(_GCLOUD), name]) for name in ("neon", "terraform")),
        ):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            program.chmod(0o755)
        self.path = [str(programs), *self.path]

    def run(self, line: str, **changed: str) -> programs.Ended:
        environment = {
            **self.environment,
            **changed,
            "GCLOUD_STATE": str(self.folder / "gcloud.json"),
        }
        path = ":".join([*self.path, os.environ["PATH"]])
        environment |= {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        known = settings.child_env(**environment)
        return programs.try_run(["bash", "-c", line], known, folder=self.folder)

    def type(self, *lines: str, **changed: str) -> str:
        output = ""
        for line in lines:
            answer = self.run(line, **changed)
            assert answer.returncode == 0, f"{line}\n{answer.stdout}{answer.stderr}"
            output += answer.stdout
        return output

    @property
    def gcloud(self) -> dict[str, list[list[str]]]:
        """Return the fake gcloud's state, such as `subscriptions` and `told` (recorded calls)."""
        state: dict[str, list[list[str]]] = json.loads(
            (self.folder / "gcloud.json").read_text(encoding="utf-8")
        )
        return state

    def subscribe(self, *names: str, **endpoints: str) -> None:
        """Create a push subscription for each name, and the pull subscription `pulled-sub`.

        `endpoints` maps a name to its push endpoint. The endpoint of any other name is
        `https://NAME`.
        """
        to = {name: f"https://{name}" for name in names} | endpoints
        pushed = [[name, at, "push@p", "https://audience"] for name, at in to.items()]
        state = {
            "subscriptions": [*pushed, ["pulled-sub", "", "", ""]],
            "snapshots": {},
            "waits": self.waits,
            "old": self.old,
            "told": [],
            "reads": {},  # the number of reads of each log
        }
        (self.folder / "gcloud.json").write_text(json.dumps(state), encoding="utf-8")
