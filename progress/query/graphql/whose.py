"""Whose data a field returns: whoever is not this learner leaves a trace of reading it."""

from enum import Enum, auto


class Whose(Enum):
    """The learners whose data a root field, or a field with a resolver of its own, returns."""

    LEARNER = auto()  # the learner that the argument `userId` names
    TRAIL = auto()  # the same learner, even if deleted
    LISTED = auto()  # those that the resolver passes to `Context.note`
    NOBODY = auto()  # none but the caller, numbers over many learners, or no learner
