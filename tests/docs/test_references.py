"""Comments, docstrings and documents name modules, attributes and files that exist."""

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from progress.adapters.telemetry import metric_fields
from tests.support import gate, programs, xdist_scheduling

ROOT = Path(__file__).parents[2]

# How a comment begins, by the suffix of its file. Python has docstrings, too.
_COMMENTS = {
    **dict.fromkeys((".sql",), "--"),
    **dict.fromkeys((".py", ".tf", ".tfvars", ".toml", ".yaml", ".yml", ".sh", ""), "#"),
    **dict.fromkeys((".js", ".mjs", ".ts"), "//"),
}

_NAME = re.compile(r"(?<![\w./@:$-])progress(?:\.[A-Za-z_]\w*)+")
_START = r"(?<![\w./@:$<>{}*-])"
_SUFFIXES = "py|sql|tf|tfvars|toml|yaml|yml|js|mjs|md|json|sh|txt"
_FILE = re.compile(rf"{_START}[\w-]+(?:/[\w.-]+)*/[\w-]+\.(?:{_SUFFIXES})\b(?![\w(/-])")
_ALONE = re.compile(rf"{_START}[a-z]\w*\.(?:py|sql|tf|toml|mjs|md)\b(?![\w(/-])")
_FOLDER = re.compile(
    rf"{_START}(?:(?:progress|functions|jobs|sql|tests|data|bench|infra|docs|examples|schemas)/"
    r"|\.github/|\.ci/)[\w./*-]*[\w*]"
)
_EXAMPLE = re.compile(r"^ {4}(?:>>>|\.\.\.) .*$", re.MULTILINE)

# Files that a reader writes, and that are not in the repository.
_WRITTEN = {"app.mjs", "backend_override.tf", "pyspark.sql"}  # the last one is a module


_TRACKED = programs.run(["git", "ls-files"], folder=ROOT).splitlines()
FILES = [name for name in _TRACKED if (ROOT / name).is_file()]


def read_prose(name: str) -> str:
    """Return the comments and docstrings of a file; a document consists of nothing else."""
    text, suffix = (ROOT / name).read_text(encoding="utf-8"), PurePosixPath(name).suffix
    if suffix == ".md":
        return text
    prose = [line.partition(_COMMENTS[suffix])[2] for line in text.splitlines()]
    prose += [
        ast.get_docstring(node) or ""
        for node in (ast.walk(ast.parse(text)) if suffix == ".py" else ())
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return "\n".join(prose)


def find_dangling(prose: str) -> Iterator[str]:
    # In the examples of docs/python.md, which a test runs, `progress` is a variable.
    names = set(_NAME.findall(_EXAMPLE.sub("", prose)))
    yield from (name for name in names if not (name in _metrics() or _resolves(name)))
    files = {*_FILE.findall(prose), *_ALONE.findall(prose)} - _WRITTEN
    missing = {path for path in files if f"/{path}" not in _tails()}
    folders = set(_FOLDER.findall(prose)) - files
    yield from missing | {path for path in folders if not any(ROOT.glob(path))}


@functools.cache
def _tails() -> set[str]:
    """Return each file's path with all or the last of its parts: `/a/b.py`, `/b.py`."""
    return {
        "/" + "/".join(parts[start:])
        for parts in (file.split("/") for file in FILES)
        for start in range(len(parts))
    }


@functools.cache
def _metrics() -> set[str]:
    declared = metric_fields.load()
    return {f"progress.{name}" for name in declared.metric_fields | declared.exported}


@functools.cache
def _resolves(name: str) -> bool:
    """Return whether the name is a module, or an attribute of the longest module in it."""
    parts = name.split(".")
    count = len(parts)
    while not _is_module(".".join(parts[:count])):
        count -= 1
    value: object = importlib.import_module(".".join(parts[:count])) if count < len(parts) else None
    for part in parts[count:]:
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the name in front of the last dot is no package
        return False


def test_what_comments_docstrings_and_documents_name_exists() -> None:
    # An applied migration keeps its text.
    own = [each for each in FILES if not re.search(r"\.min\.js$|/released/\d|^sql/mig", each)]
    read = [name for name in own if PurePosixPath(name).suffix in {*_COMMENTS, ".md"}]
    assert len(read) > 800
    assert [f"{file}: {name}" for file in read for name in find_dangling(read_prose(file))] == []


def test_the_lists_of_slow_tests_and_of_the_gate_name_existing_files() -> None:
    """A file that moves would lose its place at the start of a run, or move to `make test`."""
    tests = ROOT / "tests"
    files = {path.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")}
    shared, slow = xdist_scheduling._SHARED, xdist_scheduling._SECONDS
    assert {f"{name}.py" for name in slow.keys() - shared.keys()} <= files
    for start in (start for starts in shared.values() for start in starts):
        assert any(file.startswith(start) for file in files), start
    assert [part for part in gate.PARTS if not (tests / part).exists()] == []
