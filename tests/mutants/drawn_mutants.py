"""Run the tests on mutants that were drawn at random: `python -m tests.mutants.drawn_mutants FILE`.

FILE has the mutants that draw_mutants.py prints. Each is put into a copy of the repository, in
which tests run until one fails: at first the fastest tests that call the changed function, with
the comparison of documented limits, and after all mutants had their turn, all tests of the area.
`FILE.calls` has the functions that each test calls. The results are added to `FILE.results`, from
which an interrupted run goes on.

A mutant that no test notices must be listed, with the reason, in survivors.toml. Otherwise, and if
fewer than 95 % of the others are noticed, the exit code is 1.
"""

import ast
import contextlib
import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.mutants.broken_folds import HERE
from tests.mutants.requirement_rows import copy_repository, run_tests

_COPIES = 4  # mutants that are tested at the same time; a test that hangs waits for its time limit
_BAR = 0.95
_FIRST = 80  # tests that call the changed function run first
_ENOUGH = "--maxfail=4"  # A run ends after this number of failures, which are then repeated.
_TIME_LIMIT_S = 1_800.0  # of a run
_LIMITS = "tests/docs/test_limits.py"  # reads constants, so that it calls no function
_QUICK = ("-m", "not exhaustive")
_UNNOTICED, _NONE = "no quick test", "no test"
_FAILED = re.compile(r"^(?:FAILED|ERROR) ([^\s\[]+)", re.MULTILINE)

Mutant = dict[str, Any]


class Runner:
    """Copies of the repository, and the tests that call each function."""

    def __init__(self, roots: Iterable[Path], calls: Path) -> None:
        self._roots: SimpleQueue[Path] = SimpleQueue()
        for root in roots:
            self._roots.put(root)
        self._areas = tomllib.loads((HERE / "areas.toml").read_text(encoding="utf-8"))
        if not calls.exists():
            self._record(calls)
        self._tests: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for line in calls.read_text(encoding="utf-8").splitlines():
            test, seconds, functions = json.loads(line)
            for function in functions:
                self._tests[function].append((seconds, test))

    def _record(self, calls: Path) -> None:
        print("Recording the functions that each test calls.", flush=True)
        tests = dict.fromkeys(test for area in self._areas.values() for test in area["tests"])
        options = ["-n", str(_COPIES), "-p", "tests.mutants.recorded_calls", *_QUICK]
        root = self._roots.get()
        unfinished = calls.with_name(f"{calls.name}.unfinished")
        unfinished.unlink(missing_ok=True)
        run = run_tests(root, [*options, *tests], RECORDED_CALLS=str(unfinished.absolute()))
        self._roots.put(root)
        if run.returncode:
            raise SystemExit(f"{run.stdout}\nA test fails without a mutant.")
        unfinished.rename(calls)

    def find_noticing(self, mutant: Mutant, *, quick: bool) -> str | None:
        """Return a test that fails on the mutant; None if there is none.

        If `quick`, run only the fastest tests that call the changed function.
        """
        root, file = self._roots.get(), mutant["file"]
        before = (root / file).read_text(encoding="utf-8")
        calling = self._list_calling(mutant, before)
        if quick:
            runs = [[*calling[:_FIRST], _LIMITS]]
        else:
            runs = [calling[_FIRST:], *([test] for test in self._areas[mutant["area"]]["tests"])]
        (root / file).write_text(mutant["source"], encoding="utf-8")
        try:
            return next(filter(None, (_run(root, tests) for tests in runs if tests)), None)
        finally:
            (root / file).write_text(before, encoding="utf-8")
            self._roots.put(root)

    def _list_calling(self, mutant: Mutant, source: str) -> list[str]:
        """Return the tests that call the function with the mutant's line, the fastest first.

        For a line outside of functions, return those that call any function of the module.
        """
        function = f"{mutant['file']}:{_find_function(source, mutant['line'])}"
        found = {
            test
            for name, tests in self._tests.items()
            if name == function or (function.endswith(":") and name.startswith(function))
            for test in tests
        }
        return [test for _, test in sorted(found)]


def _find_function(source: str, line: int) -> str:
    """Return the qualified name of the innermost function with this line; "" if there is none."""
    found = ""

    def visit(node: ast.AST, name: str) -> None:
        nonlocal found
        for inner in ast.iter_child_nodes(node):
            named, is_function = name, isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                named = f"{name}.{inner.name}" if name else inner.name
                if is_function and inner.lineno <= line <= (inner.end_lineno or line):
                    found = named
            visit(inner, f"{named}.<locals>" if is_function else named)

    visit(ast.parse(source), "")
    return found


def _run(root: Path, tests: Sequence[str]) -> str | None:
    """Return a test that fails, and fails again; None if there is none.

    A test may also fail because the machine is slow. Such a test counts as passed.
    """
    try:
        run = run_tests(root, [_ENOUGH, *_QUICK, *tests], timeout_s=_TIME_LIMIT_S)
        if run.returncode in (0, 5):  # 5: no test was selected
            return None
        if "ERROR: not found" in run.stdout:
            raise LookupError(run.stdout)
        failed = list(dict.fromkeys(_FAILED.findall(run.stdout))) or [tests[0]]
        again = run_tests(root, ["-x", *_QUICK, *failed], timeout_s=_TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"{tests[0]} or a later test hangs"
    if again.returncode == 0:
        return None
    found = _FAILED.search(again.stdout)
    return found[1] if found else failed[0]


def read_results(path: Path) -> dict[str, str]:
    """Return the test that noticed each mutant, or that none did, by the mutant's description."""
    if not path.exists():
        return {}
    return dict(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def main(name: str) -> int:
    """Test the mutants of a file, and print what no test noticed."""
    drawn = [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]
    results = read_results(stored := Path(f"{name}.results"))
    with (
        contextlib.ExitStack() as copies,
        ThreadPoolExecutor(_COPIES) as pool,
        stored.open("a", encoding="utf-8") as file,
    ):
        roots = [copies.enter_context(copy_repository()) for _ in range(_COPIES)]
        runner = Runner(roots, Path(f"{name}.calls"))
        for quick in (True, False):
            state = None if quick else _UNNOTICED
            waiting = [mutant for mutant in drawn if results.get(mutant["text"]) == state]
            print(f"{len(waiting)} mutants remain.", flush=True)
            running = {pool.submit(runner.find_noticing, m, quick=quick): m for m in waiting}
            for ended in as_completed(running):
                mutant, test = running[ended], ended.result()
                results[mutant["text"]] = test or (_UNNOTICED if quick else _NONE)
                print(results[mutant["text"]], mutant["text"], flush=True)
                print(json.dumps([mutant["text"], results[mutant["text"]]]), file=file, flush=True)
    return report({mutant["text"]: results[mutant["text"]] for mutant in drawn})


def report(results: dict[str, str]) -> int:
    """Print how many mutants were noticed; return 1 if too few were, or one is not explained."""
    listed = tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8"))["mutant"]
    reasons = {each["text"]: each["reason"] for each in listed}
    alive = [mutant for mutant, test in results.items() if test == _NONE]
    equal = [mutant for mutant in alive if reasons.get(mutant, "").startswith("equal: ")]
    noticed, different = len(results) - len(alive), len(results) - len(equal)
    for mutant in alive:
        print(f"\n{mutant}\n  {reasons.get(mutant, 'NOT EXPLAINED')}")
    print(f"\n{noticed} of {different} mutants were noticed ({noticed / different:.1%}).")
    print(f"{len(equal)} more do the same as the code.")
    return 0 if noticed >= _BAR * different and all(m in reasons for m in alive) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
