"""Plant drawn faults, and record which test files kill each of them.

    python -m tests.kills map TESTS...           run these tests once, and note the lines they run
    python -m tests.kills plant PACKAGE COUNT    plant faults until COUNT are recorded in kills.csv
    python -m tests.kills again FILE             plant again what FILE kills, after it was removed
    python -m tests.kills again survivors        run six times as many tests with each survivor
    python -m tests.kills table                  print packages, faults, killed, files, survivors

mutmut makes the faults (`make kills` installs it). A fixed seed orders those of a package, so a
longer record continues a shorter one. Of each file with tests that run a fault's line in pytest's
process, the fastest run, until one fails. Files beyond the time of a fault do not: `left` counts
them. If all pass, mypy looks at the file. A fault whose line no known test runs is left out. Map
again what has other parameters.
"""

import argparse
import ast
import csv
import difflib
import hashlib
import importlib
import json
import multiprocessing
import os
import shutil
import signal
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
SECONDS_OF_A_FAULT = 10  # the time that the tests take without the fault
SURVIVORS, TYPES = "survivors", "mypy"
# The files of tests of each package before the first file was removed for killing nothing alone.
FILES_BEFORE = {
    **dict.fromkeys(("archive", "ingest"), 6),
    "operations": 15,
    "projections": 28,
    "event_store": 18,
    "query": 37,
    "adapters": 26,
}
# `why` says why a survivor changes nothing that a test can see; a person writes it.
COLUMNS = ("package", "key", "line", "fault", "killers", "ran", "left", "commit", "why")
ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("kills.csv")
MAPS = ROOT / ".venv-kills" / "maps"
OPTIONS = (
    *("-q", "--tb=no", "--hypothesis-seed=0", "--timeout=60", "--continue-on-collection-errors"),
    "-Wignore::pytest.PytestAssertRewriteWarning",
)
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


def run_tests(arguments: list[str], seconds: int, plugin: object) -> int:
    """Run pytest in a fork of this process; return its exit code, or a negative signal."""

    def run() -> None:
        os.setsid()
        for name in [one for one in sys.modules if one.split(".")[0] in ("progress", "tests")]:
            del sys.modules[name]
        os._exit(pytest.main([*OPTIONS, f"--session-timeout={seconds}", *arguments], [plugin]))

    fork = multiprocessing.get_context("fork").Process(target=run)
    fork.start()
    fork.join(seconds + 60)
    if fork.exitcode is None and fork.pid:
        os.killpg(fork.pid, signal.SIGKILL)
        fork.join()
    return fork.exitcode or 0


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


def draw(package: str) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield a fault's key, its file, the parsed file and two nodes of it, in the order of the keys.

    The key depends only on the seed, the function and the fault, whatever else changes.
    """
    import libcst
    from mutmut.mutation import file_mutation, mutators, pragma_handling

    # What a text says is no behaviour, and a line outside of functions belongs to no test.
    operators = [one for one in mutators.mutation_operators if one[0] is not libcst.BaseString]
    ignored = pragma_handling.IgnoredCode(set(), set(), set())
    faults: dict[str, tuple[str, Any, Any]] = {}
    for path in sorted((ROOT / "progress" / package).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        visitor = file_mutation.MutationVisitor(operators, ignored)
        wrapped = libcst.MetadataWrapper(libcst.parse_module(path.read_text(encoding="utf-8")))
        module, seen = wrapped.visit(visitor), Counter[str]()
        for one in visitor.mutations:
            function = one.contained_by_top_level_function
            if isinstance(function, libcst.FunctionDef):
                nodes = (one.original_node, one.mutated_node)
                where = (SEED, name, function.name.value, *map(module.code_for_node, nodes))
                text = " ".join(map(str, where))
                seen[text] += 1
                key = hashlib.sha256(f"{text} {seen[text]}".encode()).hexdigest()[:8]
                faults[key] = (name, module, nodes)
    for key, fault in sorted(faults.items()):
        yield key, *fault


def lines_of_statement(text: str, line: int) -> range:
    """Return the lines of the innermost statement at a line, without those of statements in it."""
    inner = range(line, line + 1)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            body = getattr(node, "body", None)
            end = body[0].lineno if isinstance(body, list) else (node.end_lineno or 0) + 1
            inner = range(node.lineno, end) if line < end else inner
    return inner


def choose(
    text: str, name: str, line: int, maps: Any, thoroughly: int
) -> tuple[list[str], int, int]:
    """Return the fastest tests of a line, and the numbers of their files and of the others."""
    by_line, durations = maps
    files: dict[str, list[str]] = defaultdict(list)
    tests = set[str]().union(*(by_line[name][n] for n in lines_of_statement(text, line)))
    for test in sorted(tests, key=durations.__getitem__):
        file, function = test.split("[")[0].split("::")[:2]
        if (ROOT / file).exists() and f"def {function}(" in (ROOT / file).read_text("utf-8"):
            files[file].append(test)
    chosen, seconds, ran = list[str](), 0.0, 0
    for of_file in sorted(files.values(), key=lambda one: durations[one[0]]):
        fastest = of_file[: TESTS_OF_A_FILE * thoroughly]
        seconds += sum(durations[test] for test in fastest)
        if not ran or seconds < SECONDS_OF_A_FAULT * thoroughly:
            chosen, ran = chosen + fastest, ran + 1
    return chosen, ran, len(files) - ran


def plant(root: Path, name: str, broken: str, tests: list[str], seconds: int) -> str:
    """Return the files with tests that kill a fault in a tree; if none does, mypy if it does."""
    text = (root / name).read_text(encoding="utf-8")
    (root / name).write_text(broken, encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "killers"
        code = run_tests(tests, seconds, FirstFailures(report))
        killers = report.read_text(encoding="utf-8") if report.exists() else ""
    if code > 2:  # With the fault, pytest cannot import what it needs.
        killers = " ".join(sorted({test.split("::")[0] for test in tests}))
    if not killers:
        arguments = (f"--cache-dir={ROOT / '.venv-kills' / 'mypy'}", name)
        process = subprocess.run([sys.executable, "-m", TYPES, *arguments], cwd=root, check=False)
        killers = TYPES if process.returncode else ""
    (root / name).write_text(text, encoding="utf-8")
    return killers


def plant_faults(package: str, count: int = 0, killer: str = "") -> None:
    """Plant faults until `count` of the package are recorded, or again those that a file killed."""
    maps, thoroughly = read_maps(), 6 if killer == SURVIVORS else 1
    commit = subprocess.check_output(["git", "describe", "--always"], cwd=ROOT, text=True).strip()
    faults = [*draw(package)]
    drawn = {key for key, *_ in faults}
    # A row about code that has changed goes; another fault takes its place.
    rows = {k: r for k, r in read_record().items() if r["package"] != package or k in drawn}
    write_record(rows)
    with open_copy() as root:
        for key, name, module, nodes in faults:
            rows = read_record()
            if not killer and sum(row["package"] == package for row in rows.values()) >= count:
                break
            known = list_killers(rows[key]) if key in rows else []
            if killer not in known if killer else known:
                continue
            text, broken = module.code, module.deep_replace(*nodes).code
            change = list(difflib.unified_diff(text.splitlines(), broken.splitlines(), n=0))[2:]
            line = int(change[0].split()[1].lstrip("-").split(",")[0])
            tests, ran, left = choose(text, name, line, maps, thoroughly)
            if not tests:
                continue
            killers = plant(root, name, broken, tests, 5 * SECONDS_OF_A_FAULT * thoroughly)
            fault = " | ".join(f"{part[0]} {part[1:].strip()}" for part in change[1:])
            why = rows[key]["why"] if key in rows and not killers else ""
            numbers = (str(ran), str(left))
            values = (package, key, f"{name}:{line}", fault, killers, *numbers, commit, why)
            write_record({**read_record(), key: dict(zip(COLUMNS, values, strict=True))})
            print(f"{name}:{line}", fault, "killed by", killers or "NONE", flush=True)


def list_killers(row: Fault) -> list[str]:
    return row["killers"].split() or [SURVIVORS]


@contextmanager
def open_copy() -> Iterator[Path]:
    """Yield a copy of the tree that is the current folder, beside a server of PostgreSQL."""
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__")
        shutil.copytree(ROOT, folder, ignore=ignored, dirs_exist_ok=True)
        (Path(folder) / ".venv").symlink_to(ROOT / ".venv")
        os.chdir(folder)
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = folder
        # What it imports, and the server, are ready in each fork, which imports only our modules.
        from tests.support import postgres_servers

        importlib.import_module("tests.conftest")
        with postgres_servers.start(None) as os.environ["TEST_DATABASE_URL"]:
            yield Path(folder)


def read_record() -> dict[str, Fault]:
    with RECORD.open(encoding="utf-8", newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def write_record(rows: dict[str, Fault]) -> None:
    new = RECORD.with_suffix(f".{os.getpid()}")
    with new.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows.values(), key=lambda row: (row["package"], row["key"])))
    new.replace(RECORD)  # at once, because another process may add a row


def print_table() -> None:
    """Print what is recorded of each package, the files that alone kill a fault, and survivors."""
    from tests.mutants import broken_folds

    rows = read_record().values()
    titles = f"{'faults':>8}{'by tests':>10}{'by mypy':>9}{'survive':>9}"
    print(f"seed {SEED}\n{'package':<12}{titles}{'files before':>14}{'after':>7}")
    for package, before in FILES_BEFORE.items():
        killers = [row["killers"] for row in rows if row["package"] == package]
        types, survivors = killers.count(TYPES), killers.count("")
        tests = len(killers) - types - survivors
        after = len([*(ROOT / "tests" / package).rglob("test_*.py")])
        numbers = f"{len(killers):>8}{tests:>10}{types:>9}{survivors:>9}"
        print(f"{package:<12}{numbers}{before:>14}{after:>7}")
    faults = broken_folds.load_mutants()
    killed_folds = {name for one in broken_folds.load_deliveries() for name in one.mutants}
    sizes = (len(faults), sum(one.name in killed_folds for one in faults))
    print(f"{'folds (SQL)':<12}{sizes[0]:>8}{sizes[1]:>10}")
    alone = Counter(row["killers"] for row in rows if len(row["killers"].split()) == 1)
    for file, number in sorted(alone.items()):
        print(f"{file} alone kills {number}")
    for row in rows:
        if not row["killers"]:
            print(f"survives: {row['line']} {row['fault']}: {row['why'] or 'UNKNOWN WHY'}")


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
        pytest.main([*OPTIONS, *args.tests], [Mapping(MAPS / str(os.getpid()))])
    elif args.kind == "plant":
        plant_faults(args.package, args.count)
    elif args.kind == "again":
        rows = read_record().values()
        for package in {row["package"] for row in rows if args.file in list_killers(row)}:
            plant_faults(package, killer=args.file)
    else:
        print_table()


if __name__ == "__main__":
    main()
