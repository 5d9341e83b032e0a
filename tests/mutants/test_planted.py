"""Each planted fault is noticed by the test that names the faulty file.

planted.toml has the faults that no comparison of folds finds: in reads, exports, erasures, the
page, the importers and the client.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from progress import files

# For each test, which is what a person who changes a file runs first: the files, and for each what
# is wrong with it, a text of it, and what takes its place.
FAULTS: dict[str, dict[str, dict[str, tuple[str, str]]]] = tomllib.loads(
    Path(__file__).with_name("planted.toml").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a copy of the project, in which a fault can be planted."""
    folder = tmp_path_factory.mktemp("planted") / "copy"
    ignored = shutil.ignore_patterns(".*", "node_modules", "__pycache__")
    shutil.copytree(files.ROOT, folder, ignore=ignored)
    for modules in ("clients/javascript/node_modules", "tests/clients/node_modules"):
        (folder / modules).symlink_to(files.ROOT / modules)
    yield folder
    shutil.rmtree(folder)


def passes(clone: Path, test: str) -> bool:
    """Run tests in the copy; fail unless they run and either pass or fail."""
    command = [sys.executable, "-m", "pytest", "-xq", "-p", "no:cacheprovider", *test.split()]
    variables = {**os.environ, "HYPOTHESIS_PROFILE": "unshrunk"}
    done = subprocess.run(
        command, cwd=clone, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return not done.returncode


def test_the_file_contains_the_text_of_each_fault_once_and_its_head_names_the_test() -> None:
    for test, changed in FAULTS.items():
        for file, faults in changed.items():
            source = (files.ROOT / file).read_text(encoding="utf-8")
            assert {name: source.count(text) for name, (text, _) in faults.items()} == (
                dict.fromkeys(faults, 1)
            )
            head, path = source.partition("\n\n")[0], test.split()[0].partition("::")[0]
            assert not file.endswith(".sql") or path.removeprefix("tests/") in head, file


@pytest.mark.exhaustive
@pytest.mark.parametrize("test", FAULTS)
def test_the_first_choice_passes_without_a_fault_and_notices_each(clone: Path, test: str) -> None:
    assert passes(clone, test)
    unnoticed = []
    for file, faults in FAULTS[test].items():
        source = (clone / file).read_text(encoding="utf-8")
        for name, (text, by) in faults.items():
            (clone / file).write_text(source.replace(text, by), encoding="utf-8")
            if passes(clone, test):
                unnoticed.append(name)
        (clone / file).write_text(source, encoding="utf-8")
    assert not unnoticed
