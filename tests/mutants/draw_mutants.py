"""Draw mutants of Python modules at random: `python draw_mutants.py SEED NUMBER`.

cosmic-ray makes most of the mutants; a removed statement is made here. Each mutant is on another
line, which is drawn first, so that operators with many variants are not preferred. The draw of a
line depends on its text only, so that a change of the code changes few of the mutants. A mutant is
left out if its module can no longer be imported. The mutants are printed as JSON, one in each line.

This program runs in the environment of `make mutants`, which has cosmic-ray.
"""

import ast
import difflib
import json
import random
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = Path(__file__).parents[2]
AREAS = tomllib.loads((ROOT / "tests/mutants/areas.toml").read_text(encoding="utf-8"))

_REMOVED = "remove a statement"


def list_changes(source: str) -> dict[int, list[tuple[str, object]]]:
    """Return, for each line, the operators that change it, each with what it needs to do so."""
    changes: dict[int, list[tuple[str, object]]] = defaultdict(list)
    for name in plugins.operator_names():
        kind = plugins.get_operator(name)
        if kind.arguments():
            continue
        positions = (
            start
            for node in ast_nodes(get_ast(source))
            for start, _ in kind().mutation_positions(node)
        )
        for occurrence, (line, _) in enumerate(positions):
            changes[line].append((name, occurrence))
    for statement in _list_removable(source):
        changes[statement.lineno].append((_REMOVED, statement))
    annotations = _list_annotation_lines(source)
    return {line: found for line, found in changes.items() if line not in annotations}


def _list_removable(source: str) -> Iterator[ast.stmt]:
    """Yield the calls, assignments, raises and returns that are not alone in the module's body."""
    removable = (ast.Assign, ast.AugAssign, ast.Raise, ast.Delete)
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                is_call = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
                is_value = isinstance(node, ast.Return) and node.value is not None
                if isinstance(node, ast.stmt) and (
                    is_call or is_value or isinstance(node, removable)
                ):
                    yield node


def _list_annotation_lines(source: str) -> set[int]:
    """Return the lines of the heads of functions and of fields without a default."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines.update(range(node.lineno, node.body[0].lineno))
        if isinstance(node, ast.AnnAssign) and node.value is None:
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def change(source: str, name: str, how: object) -> str | None:
    """Return the changed source; None if the operator changes nothing."""
    if isinstance(how, ast.stmt):
        lines = source.splitlines(keepends=True)
        first, last = how.lineno - 1, how.end_lineno or how.lineno
        indent = lines[first][: how.col_offset]
        left = "return None" if isinstance(how, ast.Return) else "pass"
        changed = "".join([*lines[:first], f"{indent}{left}\n", *lines[last:]])
        return changed if changed != source else None
    try:
        changed = mutate_code(source, plugins.get_operator(name)(), how)
    except AttributeError:  # cosmic-ray cannot replace an exception such as asyncio.TimeoutError
        return None
    return changed if changed != source else None


def describe(module: Path, before: str, after: str) -> str:
    """Return the module's path and the changed lines."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    changed = [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]
    return "\n".join([str(module), *(re.sub(r"\s+", " ", line) for line in changed)])


def _can_import(module: Path, source: str) -> bool:
    """Return whether a module with this source can be imported by the project's interpreter."""
    name = ".".join(module.with_suffix("").parts)
    program = f"import sys, types; m = types.ModuleType({name!r}); sys.modules[{name!r}] = m\n"
    program += f"m.__dict__['__file__'] = {str(ROOT / module)!r}\n"
    program += "exec(compile(sys.stdin.read(), 'mutant', 'exec'), m.__dict__)"
    command = [str(ROOT / ".venv/bin/python"), "-c", program]
    run = subprocess.run(
        command, input=source, text=True, capture_output=True, cwd=ROOT, check=False
    )
    return run.returncode == 0


def draw(area: str, number: int, seed: str) -> Iterator[dict[str, object]]:
    """Yield mutants of an area, each on another line. Every fourth one is a removed statement."""
    modules = sorted(path for pattern in AREAS[area]["modules"] for path in ROOT.glob(pattern))
    lines = sorted((line for path in modules for line in _list_lines(path, seed)), key=_Line.order)
    drawn: set[object] = set()
    while len(drawn) < number:
        removes = len(drawn) % 4 == 3
        for line in lines:
            mutant = line.choose(removes=removes)
            if mutant and mutant["text"] not in drawn:
                lines.remove(line)
                drawn.add(mutant["text"])
                yield {"area": area, "line": line.number, **mutant}
                break


class _Line(NamedTuple):
    """A line that can be changed. What is drawn for it depends on its text, not on other lines."""

    path: Path
    source: str
    number: int
    changes: list[tuple[str, object]]
    seed: str

    def order(self) -> float:
        return random.Random(self.seed).random()

    def choose(self, *, removes: bool) -> dict[str, object] | None:
        """Return one of the changes; None if there is none, or the module cannot be imported."""
        families: dict[str, list[tuple[str, object]]] = defaultdict(list)
        for name, how in self.changes:
            if (name == _REMOVED) == removes:
                families[name.split("_")[0]].append((name, how))
        if not families:
            return None
        chance, module = random.Random(self.seed), self.path.relative_to(ROOT)
        name, how = chance.choice(families[chance.choice(sorted(families))])
        changed = change(self.source, name, how)
        if changed is None or not _can_import(module, changed):
            return None
        description = describe(module, self.source, changed)
        return {"file": str(module), "operator": name, "source": changed, "text": description}


def _list_lines(path: Path, seed: str) -> Iterator[_Line]:
    source = path.read_text(encoding="utf-8")
    texts, seen = source.splitlines(), Counter[str]()
    for number, changes in sorted(list_changes(source).items()):
        text = texts[number - 1].strip()
        seen[text] += 1
        drawn = f"{seed} {path.relative_to(ROOT)} {text} {seen[text]}"
        yield _Line(path, source, number, changes, drawn)


def main(seed: str, number: str) -> None:
    for area in AREAS:
        for mutant in draw(area, int(number) // len(AREAS), seed):
            print(json.dumps(mutant), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
