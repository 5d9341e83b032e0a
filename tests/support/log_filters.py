"""Filters of log lines, in the subset of Cloud Logging's query language that the metrics use.

The subset consists of `field="x"`, `field=1`, `field=("x" OR "y")`, `field=~"pattern"`, `field:*`
(the field exists), `severity>=X`, NOT, AND, OR and brackets.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Line = Mapping[str, Any]
Matches = Callable[[Line], bool]

_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<sign>=~|>=|:\*|[=()])|(?P<word>[\w.]+))'
)
_SEVERITIES = (
    *("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING"),
    *("ERROR", "CRITICAL", "ALERT", "EMERGENCY"),
)


def parsed(query: str) -> Matches:
    """Parse the filter; return a function that tests a line. Raise ValueError for other syntax."""
    tokens = _Tokens(query)
    matches = _either(tokens)
    if tokens.peek:
        raise ValueError(f"expected the end, found {tokens.peek!r} in {query}")
    return matches


def fields(query: str) -> set[str]:
    """Return the names of the log fields that the filter refers to."""
    return set(re.findall(r"jsonPayload\.(\w+)", query))


class _Tokens:
    def __init__(self, query: str) -> None:
        self._rest = _tokens(query)
        self.peek = next(self._rest, "")

    def take(self, wanted: str = "") -> str:
        token, self.peek = self.peek, next(self._rest, "")
        if not token or (wanted and token != wanted):
            raise ValueError(f"expected {wanted or 'more'}, found {token!r}")
        return token


def _tokens(query: str) -> Iterator[str]:
    at = 0
    while at < len(query.rstrip()):
        match = _TOKEN.match(query, at)
        if not match:
            raise ValueError(f"not understood: {query[at:]}")
        at = match.end()
        yield match.group().strip()


def _either(tokens: _Tokens) -> Matches:
    return _joined(tokens, "OR", _all, any)


def _all(tokens: _Tokens) -> Matches:
    return _joined(tokens, "AND", _term, all)


def _joined(
    tokens: _Tokens,
    operator: str,
    operand: Callable[[_Tokens], Matches],
    combine: Callable[[Iterable[bool]], bool],
) -> Matches:
    parts = [operand(tokens)]
    while tokens.peek == operator:
        tokens.take()
        parts.append(operand(tokens))
    return lambda line: combine(part(line) for part in parts)


def _term(tokens: _Tokens) -> Matches:
    if tokens.peek == "NOT":
        tokens.take()
        excluded = _term(tokens)
        return lambda line: not excluded(line)
    if tokens.peek == "(":
        tokens.take()
        inner = _either(tokens)
        tokens.take(")")
        return inner
    path = tokens.take().split(".")
    sign = tokens.take()
    if sign == ":*":
        return lambda line: _at(line, path) is not None
    if sign == "=~":
        pattern = re.compile(_text(tokens))
        return lambda line: pattern.search(str(_at(line, path) or "")) is not None
    if sign == ">=":
        severities = _SEVERITIES[_SEVERITIES.index(tokens.take()) :]
        return lambda line: str(_at(line, path) or "DEFAULT") in severities
    if sign != "=":
        raise ValueError(f"expected a comparison, found {sign!r}")
    wanted = _one_of(tokens)
    return lambda line: str(_at(line, path)) in wanted


def _one_of(tokens: _Tokens) -> set[str]:
    if tokens.peek != "(":
        return {_text(tokens)}
    tokens.take("(")
    wanted = {_text(tokens)}
    while tokens.peek == "OR":
        tokens.take()
        wanted.add(_text(tokens))
    tokens.take(")")
    return wanted


def _text(tokens: _Tokens) -> str:
    token = tokens.take()
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def _at(line: Line, path: list[str]) -> Any:
    value: Any = line
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
