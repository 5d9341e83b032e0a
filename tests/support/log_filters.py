"""Filters of log lines, in the subset of Cloud Logging's query language that Terraform uses.

The subset consists of `field="x"`, `field=1`, `field=("x" OR "y")`, `field=~"pattern"`, `field:*`
(the field exists), `severity>=X`, NOT, AND, OR and brackets.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

Line = Mapping[str, Any]
Matches = Callable[[Line], bool]

_TEXT = r'"(?:[^"\\]|\\.)*"'
_COMPARISON = re.compile(rf"([\w.]+)(=~|>=|:\*|=)({_TEXT}|\({_TEXT}(?: OR {_TEXT})*\)|\w*)")
_REST = re.compile(r"(?:\bAND\b|\bOR\b|\bNOT\b|[() ]|<\d+>)*")
_SEVERITIES = (
    *("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING"),
    *("ERROR", "CRITICAL", "ALERT", "EMERGENCY"),
)


def parsed(query: str) -> Matches:
    """Parse the filter; return a function that tests a line. Raise ValueError for other syntax."""
    tests: list[Matches] = []

    def number(comparison: re.Match[str]) -> str:
        tests.append(_read(*comparison.groups()))
        return f"<{len(tests) - 1}>"

    text = _COMPARISON.sub(number, query)
    if not _REST.fullmatch(text):
        raise ValueError(f"not understood: {text} in {query}")
    python = re.sub(r"<(\d+)>", r"tests[\1](line)", text)
    for word in ("AND", "OR", "NOT"):  # Python's operators have the same precedence
        python = python.replace(word, word.lower())
    code = compile(python, query, "eval")
    return lambda line: bool(eval(code, {"tests": tests, "line": line}))  # noqa: S307 - see _REST


def fields(query: str) -> set[str]:
    """Return the names of the log fields that the filter refers to."""
    return set(re.findall(r"jsonPayload\.(\w+)", query))


def _read(path: str, sign: str, value: str) -> Matches:
    texts = [re.sub(r"\\(.)", r"\1", text[1:-1]) for text in re.findall(_TEXT, value)] or [value]
    match sign:
        case ":*":
            return lambda line: _at(line, path) is not None
        case "=~":
            return lambda line: re.search(texts[0], str(_at(line, path) or "")) is not None
        case ">=":
            severities = _SEVERITIES[_SEVERITIES.index(value) :]
            return lambda line: str(_at(line, path) or "DEFAULT") in severities
    return lambda line: str(_at(line, path)) in texts


def _at(line: Line, path: str) -> Any:
    value: Any = line
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
