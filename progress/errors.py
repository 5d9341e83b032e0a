"""What can go wrong, as one tree.

ProgressError
├── SettingsError            the operator mends the environment
├── StackError               the local stack cannot start: the developer frees what is taken
├── ReviewLogError           the caller mends the file to import
├── Unavailable              the database is away: the caller tries again
├── EventStoreError          the event log refused
│   ├── SerializationError   the publisher mends the event
│   └── ConsistencyError     the stream moved on: the caller reads it again
└── ProjectionError          a fold failed
    └── CheckpointError      a checkpoint and the log disagree: rebuild
"""


class ProgressError(Exception):
    """Anything that Progress itself raises."""


class SettingsError(ProgressError):
    """A setting is missing, misspelt or bad; the operator mends it."""


class StackError(ProgressError):
    """The local stack cannot do what was asked; the message says why and what to do."""


class ReviewLogError(ProgressError):
    """A review log is not what its columns say; the message names the row and the column."""


class Unavailable(ProgressError):
    """The database cannot be reached or had to give up; the same call may succeed later."""


class EventStoreError(ProgressError):
    """The event log refused an operation."""


class SerializationError(EventStoreError):
    """An event is not what its declaration says; the publisher mends it.

    The message names what was expected and where: `expected an integer - at $.data.score`.
    """


class ConsistencyError(EventStoreError):
    """A stream is not at the version that the caller expected; nothing was appended."""


class ProjectionError(ProgressError):
    """A fold failed; an operator reads the log."""


class CheckpointError(ProjectionError):
    """A checkpoint is ahead of the log or missing; an operator rebuilds the projections."""
