"""The recipe of CONTRIBUTING.md adds a read model of one screen to a copy of the tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from progress.files import ROOT
from tests.support import programs

RECIPE = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("### Add a read model")[2]
MODEL = Path(__file__).with_name("weekday_stats.txt")


@pytest.mark.exhaustive
def test_the_files_of_the_recipe_are_enough(tmp_path: Path) -> None:
    for name in programs.run(["git", "ls-files"], os.environ, folder=ROOT).splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changed = apply(tmp_path)
    files = re.findall(r"`(\S+/\S+\.(?:py|txt|toml))`", RECIPE.partition("Then run")[0])
    assert changed <= {*files, "sql/read_models/weekday_stats.sql", "sql/read_models/columns.txt"}
    assert len(changed) <= 9  # and the CHANGELOG
    (command,) = re.findall(r"python -m pytest (.*?)\n\n", RECIPE, re.DOTALL)
    names = command.replace("\\\n", " ").replace('-m "not exhaustive"', "").split()
    run = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-m", "not exhaustive", *names]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    failed = {*re.findall(r"^FAILED (\S+?)::", done.stdout, re.MULTILINE)}
    assert failed == {"tests/projections/test_views.py", "tests/query/test_schema.py"}, done.stdout
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def apply(tree: Path) -> set[str]:
    names = set()
    for part in MODEL.read_text("utf-8").split("## ")[1:]:
        place, _, text = part.partition("\n")
        name, _, mark = place.partition(" before:")
        file = tree / name
        before = file.read_text("utf-8") if mark else ""
        assert before.count(mark) == 1 or not mark, place
        file.write_text(before.replace(mark, text + mark) if mark else text, "utf-8")
        names.add(name)
    return names
