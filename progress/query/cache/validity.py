"""What an answer was made from, and whether that is still so."""

from datetime import datetime
from typing import NamedTuple

import msgspec

from progress.adapters.redis.resp import Reply
from progress.query.cache.policy import Question, Rule
from progress.query.cache.versions import Shared


class Label(NamedTuple):
    """What is answered, and from which versions; None where it does not depend on one."""

    params: str  # the question's, so that no answer is ever another learner's
    learner: int
    schema: int
    batch: int | None
    catalogue: int | None
    ends: float | None  # with the learner's day; in seconds of the wall clock


class Seen(msgspec.Struct):
    """The versions that a request has seen, each the newest at some moment since it came."""

    at: datetime
    since: float  # that moment, on the monotonic clock
    learners: dict[str, int | None]
    schema: int | None = None
    batch: int | None = None
    catalogue: int | None = None

    def note(self, copies: Reply) -> None:
        """Those of the schema, the batch, the catalogue and each learner, None where none is."""
        if isinstance(copies, list) and len(copies) == 3 + len(self.learners):
            found = [
                int(each) if isinstance(each, bytes) and each.isdigit() else None for each in copies
            ]
            self.schema, self.batch, self.catalogue, *learners = found
            self.learners = dict(zip(self.learners, learners, strict=True))

    def lacks(self, rule: Rule) -> bool:
        """Whether a version is missing that is no learner's."""
        return (
            self.schema is None
            or (rule.batch and self.batch is None)
            or (rule.catalogue and self.catalogue is None)
        )

    def take(self, shared: Shared) -> None:
        """Fill in what is missing."""
        self.schema = shared.schema if self.schema is None else self.schema
        self.batch = shared.batch if self.batch is None else self.batch
        self.catalogue = shared.catalogue if self.catalogue is None else self.catalogue

    def label(self, question: Question, learner: int, ends: datetime | None) -> Label:
        """The label of an answer that is computed after all this was seen."""
        rule = question.rule
        if self.schema is None or self.lacks(rule):
            raise ValueError("the versions that all learners share were not seen yet")
        return Label(
            question.params,
            learner,
            self.schema,
            self.batch if rule.batch else None,
            self.catalogue if rule.catalogue else None,
            ends.timestamp() if rule.clock and ends else None,
        )

    def holds(self, label: Label, question: Question) -> bool:
        """Whether an answer with that label is the present one: all of it must have been seen."""
        rule = question.rule
        return (
            label.params == question.params
            and label.learner == self.learners.get(question.user_id)
            and label.schema == self.schema
            and label.batch == (self.batch if rule.batch else None)
            and label.catalogue == (self.catalogue if rule.catalogue else None)
            and self._is_today(label)
        )

    def admits(self, label: Label, question: Question) -> bool:
        """Whether nothing that was seen is newer than an answer with that label."""
        pairs = (
            (label.learner, self.learners.get(question.user_id)),
            (label.schema, self.schema),
            (label.batch, self.batch),
            (label.catalogue, self.catalogue),
        )
        newer = any(own is not None and seen is not None and seen > own for own, seen in pairs)
        return not newer and self._is_today(label)

    def _is_today(self, label: Label) -> bool:
        return label.ends is None or self.at.timestamp() < label.ends


def sealed(label: Label, data: bytes) -> bytes:
    """The entry for an answer."""
    return msgspec.json.encode(label) + b"\n" + data


def opened(entry: bytes) -> tuple[Label, bytes] | None:
    """The label and the answer; None if it is no entry."""
    head, _, data = entry.partition(b"\n")
    try:
        return _decode(head), data
    except msgspec.DecodeError:
        return None


_decode = msgspec.json.Decoder(Label).decode
