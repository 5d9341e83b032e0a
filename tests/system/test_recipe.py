"""The recipe of CONTRIBUTING.md adds a list and a single number to a copy of the tree."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from progress.files import ROOT
from tests.support import programs

RECIPE = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("### Add a read model")[2]
HERE = Path(__file__).parent
OF_THE_MODEL = ("sql/read_models", "tests/oracle")  # folders in which a model has its own file


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_the_files_of_the_recipe_are_enough(tmp_path: Path) -> None:
    for name in programs.run(["git", "ls-files"], os.environ, folder=ROOT).splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    files = re.findall(r"`(\S+/\S+\.(?:py|txt|toml))`", RECIPE.partition("Then run")[0])
    for model in ("weekday_stats", "busiest_day"):
        changed = apply(HERE / f"{model}.txt", tmp_path)
        assert len(changed) == 6  # and the CHANGELOG
        others = {name for name in changed if not name.startswith(OF_THE_MODEL)}
        assert others <= {*files}
    (command,) = re.findall(r"python -m pytest (.*?)\n\n", RECIPE, re.DOTALL)
    run = [sys.executable, "-m", "pytest", "-q", *shlex.split(command.replace("\\\n", " "))]
    unshrunk = {**os.environ, "HYPOTHESIS_PROFILE": "unshrunk"}
    for expected in ({"tests/query/test_schema.py"}, set()):  # it writes the names, and fails once
        done = subprocess.run(
            run, cwd=tmp_path, env=unshrunk, capture_output=True, text=True, check=False
        )
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+?)::", done.stdout, re.MULTILINE)
        assert (sorted(failed), done.returncode) == (sorted(expected), len(expected)), done.stdout


def apply(patch: Path, tree: Path) -> set[str]:
    names = set()
    for part in patch.read_text("utf-8").split("## ")[1:]:
        place, _, text = part.partition("\n")
        name, _, mark = place.partition(" before:")
        file = tree / name
        before = file.read_text("utf-8") if mark else ""
        assert before.count(mark) == 1 or not mark, place
        file.write_text(before.replace(mark, text + mark) if mark else text, "utf-8")
        names.add(name)
    return names
