"""Plant drawn faults, and record which test files kill each of them.

    python -m tests.kills map TESTS...           run these tests once, and note the lines they run
    python -m tests.kills plant PACKAGE COUNT    plant faults until COUNT are recorded in kills.csv
    python -m tests.kills again FILE             plant again what FILE kills, after it was removed
    python -m tests.kills table                  print packages, faults, killed, files, survivors

mutmut makes the faults (`make kills` installs it). A fixed seed orders those of a package, so a
longer record continues a shorter one. Of each file with tests that run a fault's line in pytest's
process, the fastest run, until one fails. Files beyond the time of a fault do not: `left` counts
them. What these do not kill meets all tests of the package, up to the first that fails. A fault
whose line no known test runs is left out. Map again what has other parameters.
"""

import argparse
import ast
import csv
import difflib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SEED = 69
TESTS_OF_A_FILE = 3
SECONDS_OF_A_FAULT = 30  # the time that the tests take without the fault
# The files of tests of each package before the first file was removed for killing nothing alone.
FILES_BEFORE = {
    **dict.fromkeys(("archive", "ingest"), 6),
    "operations": 15,
    "projections": 28,
    "event_store": 18,
    "query": 37,
    "adapters": 26,
}
COLUMNS = ("package", "number", "line", "fault", "killers", "ran", "left", "commit")
ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("kills.csv")
MAPS = ROOT / ".venv-kills" / "maps"
REPORT = "KILLS_REPORT"
Fault = dict[str, str]

sys.path += map(str, (ROOT / ".venv-kills").glob("lib/python*/site-packages"))


class Mapping:
    """A plugin of pytest that notes the lines that each test runs, and its duration."""

    def __init__(self, path: Path) -> None:
        import coverage

        self.path = path
        self.durations: dict[str, float] = {}
        source = str(ROOT / "progress")
        self.coverage = coverage.Coverage(str(self.path), source=[source], config_file=False)
        self.coverage.set_option("run:relative_files", True)
        self.coverage.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        before = self.durations.get(report.nodeid, 0)
        self.durations[report.nodeid] = before + (report.duration if report.passed else 1e6)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        self.coverage.save()
        Path(f"{self.path}.json").write_text(json.dumps(self.durations), encoding="utf-8")


class FirstFailures:
    """A plugin of pytest that ends each file at its first failure, and notes the files."""

    def __init__(self, report: Path) -> None:
        self.report, self.killers = report, set[str]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if item.nodeid.split("::")[0] in self.killers:
            pytest.skip("the file has killed the fault")

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            self.killers.add(report.nodeid.split("::")[0])
            self.report.write_text(" ".join(sorted(self.killers)), encoding="utf-8")

    pytest_runtest_logreport = pytest_collectreport = note


def pytest_configure(config: pytest.Config) -> None:
    kind, _, value = os.environ[REPORT].partition(":")
    plugin = Mapping if kind == "map" else FirstFailures
    config.pluginmanager.register(plugin(Path(value)), "kills of a run")


def run_tests(root: Path, report: str, seconds: int, *arguments: str) -> int:
    """Run pytest in a tree, at a low priority; return its exit code."""
    program = ["nice", "-n5", sys.executable, "-m", "pytest", "-q", "--tb=no", "-ptests.kills"]
    options = ["--hypothesis-seed=0", "--timeout=60", f"--session-timeout={seconds}"]
    command = [*program, *options, "--continue-on-collection-errors", *arguments]
    environment = {**os.environ, REPORT: report, "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=environment, check=False).returncode


def read_maps() -> tuple[dict[str, dict[int, set[str]]], dict[str, float]]:
    """Return the tests that run each line of each file, and the duration of each test."""
    import coverage

    lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    durations: dict[str, float] = {}
    for path in sorted(MAPS.glob("*.json")):
        durations |= json.loads(path.read_text(encoding="utf-8"))
        data = coverage.CoverageData(str(path.with_suffix("")))
        data.read()
        for file in data.measured_files():
            found = lines[file]
            for line, contexts in data.contexts_by_lineno(file).items():
                found[line] |= {one for one in contexts if durations.get(one, 1e6) < 1e6}
    return lines, durations


def draw(package: str) -> Iterator[tuple[str, str]]:
    """Yield a file and its text with a fault, in the order of the seed."""
    import libcst
    from mutmut.mutation import file_mutation, mutators, pragma_handling

    # What a text says is no behaviour, and a line outside of functions belongs to no test.
    operators = [one for one in mutators.mutation_operators if one[0] is not libcst.BaseString]
    ignored = pragma_handling.IgnoredCode(set(), set(), set())
    modules: dict[str, Any] = {}
    faults: list[tuple[str, Any]] = []
    for path in sorted((ROOT / "progress" / package).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        visitor = file_mutation.MutationVisitor(operators, ignored)
        wrapped = libcst.MetadataWrapper(libcst.parse_module(path.read_text(encoding="utf-8")))
        modules[name] = wrapped.visit(visitor)
        faults += [(name, one) for one in visitor.mutations if one.contained_by_top_level_function]
    random.Random(f"{SEED} {package}").shuffle(faults)
    for name, one in faults:
        yield name, modules[name].deep_replace(one.original_node, one.mutated_node).code


def lines_of_statement(text: str, line: int) -> range:
    """Return the lines of the innermost statement at a line, without those of statements in it."""
    inner = range(line, line + 1)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            body = getattr(node, "body", None)
            end = body[0].lineno if isinstance(body, list) else (node.end_lineno or 0) + 1
            inner = range(node.lineno, end) if line < end else inner
    return inner


def plant(root: Path, name: str, broken: str, line: int, maps: Any) -> Fault | None:
    """Run the tests of a fault's line in a tree with the fault; None if there are none."""
    by_line, durations = maps
    text = (ROOT / name).read_text(encoding="utf-8")
    files: dict[str, list[str]] = defaultdict(list)
    tests = set[str]().union(*(by_line[name][n] for n in lines_of_statement(text, line)))
    for test in sorted(tests, key=durations.__getitem__):
        file, function = test.split("[")[0].split("::")[:2]
        if (ROOT / file).exists() and f"def {function}(" in (ROOT / file).read_text("utf-8"):
            files[file].append(test)
    chosen, seconds, ran = list[str](), 0.0, 0
    for of_file in sorted(files.values(), key=lambda one: durations[one[0]]):
        seconds += sum(durations[test] for test in of_file[:TESTS_OF_A_FILE])
        if not ran or seconds < SECONDS_OF_A_FAULT:
            chosen, ran = chosen + of_file[:TESTS_OF_A_FILE], ran + 1
    if not chosen:
        return None
    (root / name).write_text(broken, encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "killers"
        code = run_tests(root, f"kill:{report}", 5 * SECONDS_OF_A_FAULT, *chosen)
        if (
            code == 0
        ):  # The other tests of the package may kill it, also in processes that they start.
            folder_of_tests = f"tests/{Path(name).parts[1]}"
            run_tests(root, f"kill:{report}", 1_200, folder_of_tests, "-x", "-mnot exhaustive")
        killers = report.read_text(encoding="utf-8") if report.exists() else ""
        if code > 2:  # With the fault, pytest cannot import what it needs.
            killers = " ".join(sorted({test.split("::")[0] for test in chosen}))
    (root / name).write_text(text, encoding="utf-8")
    commit = subprocess.check_output(["git", "describe", "--always"], cwd=ROOT, text=True).strip()
    return {"killers": killers, "ran": str(ran), "left": str(len(files) - ran), "commit": commit}


def plant_faults(package: str, count: int = 0, killer: str = "") -> None:
    """Plant faults until `count` of the package are recorded, or again those that a file killed."""
    maps, rows = read_maps(), read_record()
    with open_copy() as root:
        for number, (name, broken) in enumerate(draw(package)):
            row = rows.get((package, str(number)))
            if not killer and sum(one == package for one, _ in rows) >= count:
                break
            if killer not in row["killers"].split() if row and killer else (row or killer):
                continue
            text = (ROOT / name).read_text(encoding="utf-8").splitlines()
            change = list(difflib.unified_diff(text, broken.splitlines(), n=0))[2:]
            line = int(change[0].split()[1].lstrip("-").split(",")[0])
            if not (found := plant(root, name, broken, line, maps)):
                continue
            fault = " | ".join(f"{part[0]} {part[1:].strip()}" for part in change[1:])
            where = {"package": package, "number": str(number), "line": f"{name}:{line}"}
            rows = {**read_record(), (package, str(number)): {**where, "fault": fault, **found}}
            write_record(rows)
            print(where["line"], fault, "killed by", found["killers"] or "NONE", flush=True)


@contextmanager
def open_copy() -> Iterator[Path]:
    """Yield a copy of the tree, with the environment of this tree."""
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__")
        shutil.copytree(ROOT, folder, ignore=ignored, dirs_exist_ok=True)
        (Path(folder) / ".venv").symlink_to(ROOT / ".venv")
        (Path(folder) / ".venv-kills").symlink_to(ROOT / ".venv-kills")
        yield Path(folder)


def read_record() -> dict[tuple[str, str], Fault]:
    with RECORD.open(encoding="utf-8", newline="") as file:
        return {(row["package"], row["number"]): row for row in csv.DictReader(file)}


def write_record(rows: dict[tuple[str, str], Fault]) -> None:
    with RECORD.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for _, row in sorted(rows.items(), key=lambda one: (one[0][0], int(one[0][1]))):
            writer.writerow(row)


def print_table() -> None:
    """Print what is recorded of each package, the files that alone kill a fault, and survivors."""
    rows = read_record().values()
    print(f"seed {SEED}\n{'package':<12}{'faults':>8}{'killed':>8}{'files before':>14}{'after':>7}")
    for package, before in FILES_BEFORE.items():
        killed = [bool(row["killers"]) for row in rows if row["package"] == package]
        after = len([*(ROOT / "tests" / package).rglob("test_*.py")])
        print(f"{package:<12}{len(killed):>8}{sum(killed):>8}{before:>14}{after:>7}")
    alone = Counter(row["killers"] for row in rows if len(row["killers"].split()) == 1)
    for file, number in sorted(alone.items()):
        print(f"{file} alone kills {number}")
    for row in rows:
        if not row["killers"]:
            print(f"survives: {row['line']} {row['fault']}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kills")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("map").add_argument("tests", nargs=argparse.REMAINDER)
    planting = kinds.add_parser("plant")
    planting.add_argument("package", choices=FILES_BEFORE)
    planting.add_argument("count", type=int)
    kinds.add_parser("again").add_argument("file")
    kinds.add_parser("table")
    args = parser.parse_args()
    if args.kind == "map":
        MAPS.mkdir(exist_ok=True)
        run_tests(ROOT, f"map:{MAPS / str(os.getpid())}", 36_000, *args.tests)
    elif args.kind == "plant":
        plant_faults(args.package, args.count)
    elif args.kind == "again":
        for package in FILES_BEFORE:
            plant_faults(package, killer=args.file)
    else:
        print_table()


if __name__ == "__main__":
    main()
