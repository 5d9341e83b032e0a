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
from dataclasses import dataclass
from pathlib import Path

import pytest

from progress import files


@dataclass(frozen=True)
class Fault:
    test: str  # what a person who changes the file runs first
    file: str
    name: str
    text: str
    by: str

    def change(self, source: str) -> str:
        assert source.count(self.text) == 1, f"{self.file} has this text {source.count(self.text)}×"
        return source.replace(self.text, self.by)


def load_faults() -> list[Fault]:
    tables = tomllib.loads((Path(__file__).parent / "planted.toml").read_text(encoding="utf-8"))
    return [
        Fault(test, file, name, *texts)
        for test, files_of_it in tables.items()
        for file, faults in files_of_it.items()
        for name, texts in faults.items()
    ]


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
    for fault in load_faults():
        source = (files.ROOT / fault.file).read_text(encoding="utf-8")
        fault.change(source)
        if fault.file.endswith(".sql"):
            head, test = source.partition("\n\n")[0], fault.test.partition("::")[0]
            assert test.removeprefix("tests/") in head, fault.file


@pytest.mark.exhaustive
@pytest.mark.parametrize("test", sorted({fault.test for fault in load_faults()}))
def test_the_first_choice_passes_without_a_fault_and_notices_each(clone: Path, test: str) -> None:
    assert passes(clone, test)
    unnoticed = []
    for fault in load_faults():
        if fault.test == test:
            path = clone / fault.file
            source = path.read_text(encoding="utf-8")
            path.write_text(fault.change(source), encoding="utf-8")
            if passes(clone, test):
                unnoticed.append(fault.name)
            path.write_text(source, encoding="utf-8")
    assert not unnoticed
