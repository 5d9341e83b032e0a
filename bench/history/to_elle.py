"""Translate a history into one of lists, which Elle checks (docs/histories.md).

Usage: python -m bench.history.to_elle log|queries|all HISTORY > history.edn

The log becomes lists of 20 events, and so do the answers of each learner:

- An append of events appends their numbers to the lists in which reads have seen them. If it is
  sent again because its outcome was unknown, both are one append. An acknowledged event that no
  read has seen belongs to the last list.
- A read, which begins at a list's first event, reads whole lists.
- A query that shows n answers reads the lists that the first n answers of the learner make. A
  client's queries about one learner are a session: learners are folded independently.

`log` translates appends and reads, `queries` appends and the queries without a cache, `all` all
operations. Events of other clients are left out.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple, TextIO

from bench.history import checker
from bench.history.checker import Op

_BLOCK = 20  # events of a list
_NOBODY = 0  # the number of an answer that nobody has sent

Lists = dict[str, list[int]]


class Event(NamedTuple):
    """An event's number, and the names of its lists."""

    number: int
    in_log: str
    in_answers: str


class Translation:
    """The numbers and lists of a history's events."""

    def __init__(self, operations: list[Op]) -> None:
        reads = [op for op in operations if op.f == "read" and op.type == "ok"]
        seen = {id_: place for op in reads for place, id_ in op.value["events"] if id_}
        learners = {
            id_: op.value["learner"]
            for op in operations
            if op.f == "append"
            for id_ in op.value["ids"]
        }
        end = max(seen.values(), default=1)
        self.answers: dict[str, list[int]] = defaultdict(list)
        self.events: dict[str, Event] = {}
        unseen = sorted(learners.keys() - seen.keys())
        for id_ in [*sorted(learners.keys() & seen.keys(), key=seen.__getitem__), *unseen]:
            learner, number = learners[id_], len(self.events) + 1
            names = _name_log(seen.get(id_, end)), _name(learner, len(self.answers[learner]))
            self.events[id_] = Event(number, *names)
            self.answers[learner].append(number)
        self._is_seen = seen.keys()

    def translate_append(self, op: Op, *, log: bool, answers: bool) -> Lists:
        lists: Lists = defaultdict(list)
        for event in sorted(self.events[id_] for id_ in op.value["ids"]):
            for name in (event.in_log,) * log + (event.in_answers,) * answers:
                lists[name].append(event.number)
        return lists

    def translate_read(self, op: Op) -> Lists:
        """The list that begins before the read is left out, and so is one that is not reached."""
        begin, found = op.value["from"], op.value["events"]
        end = found[-1][0] if len(found) == op.value["limit"] else (found or [[begin]])[-1][0] + 1
        places = range(begin + (1 - begin) % _BLOCK, end + 1)
        lists: Lists = {_name_log(place): [] for place in places}
        for place, id_ in found:
            if id_ in self.events and _name_log(place) in lists:
                lists[_name_log(place)].append(self.events[id_].number)
        return lists

    def translate_query(self, op: Op) -> Lists:
        learner, count = op.value["learner"], op.value["answers"]
        numbers = self.answers[learner]
        first = max(0, count // _BLOCK - 1) * _BLOCK
        shown = [numbers[n] if n < len(numbers) else _NOBODY for n in range(first, count)]
        lists: Lists = {_name(learner, n): [] for n in range(first, count + 1)}
        for place, number in enumerate(shown, first):
            lists[_name(learner, place)].append(number)
        return lists


def _name_log(place: int) -> str:
    return _name("log", place - 1)


def _name(prefix: str, index: int) -> str:
    return f'"{prefix} {index // _BLOCK}"'


def merge(operations: list[Op]) -> list[Op]:
    """Make each append and its repetitions one append; leave out what surely did not happen."""
    appends: dict[tuple[str, ...], Op] = {}
    others = []
    for op in operations:
        if op.f != "append":
            others += [op] * (op.type == "ok")
            continue
        first = appends.setdefault(tuple(op.value["ids"]), op)
        if op.type == "ok" and first.type != "ok":
            appends[tuple(op.value["ids"])] = first._replace(type="ok", end=op.end)
    return sorted([*appends.values(), *others], key=lambda op: op.begin)


def translate(operations: list[Op], what: str) -> Iterator[str]:
    """Yield the lines of Elle's history in the order of their times."""
    whole, times = Translation(operations), []
    sessions: dict[tuple[int, str | None], int] = {}
    for op in merge(operations):
        if op.f == "append":
            lists = whole.translate_append(op, log=what != "queries", answers=what != "log")
        elif op.f == "read" and what != "queries":
            lists = whole.translate_read(op)
        elif op.f == "query" and what != "log" and (what == "all" or not op.value["cached"]):
            lists = whole.translate_query(op)
        else:
            continue
        verb = "append" if op.f == "append" else "r"
        values = [
            f"[:{verb} {name} {value}]"
            for name, numbers in lists.items()
            for value in (
                numbers if verb == "append" else ["[" + " ".join(map(str, numbers)) + "]"]
            )
        ]
        session = sessions.setdefault((op.process, op.value.get("learner")), len(sessions))
        text = f":process {session}, :f :txn, :value [{' '.join(values)}]"
        times.append((op.begin, ":invoke", text))
        if op.type == "ok":
            times.append((int(op.end), ":ok", text))
    for index, (time, kind, text) in enumerate(sorted(times)):
        yield f"{{:index {index}, :type {kind}, :time {time}, {text}}}\n"


def main(what: str, path: str, output: TextIO) -> None:
    output.writelines(translate(checker.load(path), what))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.stdout)
