"""What can go wrong, as one tree.

ProgressError
├── SettingsError            the operator mends the environment
├── StackError               the local stack cannot start: the developer frees what is taken
├── ReviewLogError           the caller mends the file to import
├── Unavailable              the database is away: the caller tries again
│   └── HistoryTooLong       it is too much to fold: the caller asks about another moment
├── CacheAway                Redis is away: the caller goes on without it
├── Refused                  the query API refused: the caller mends the request
│   ├── BadInput             an argument is none of those allowed
│   │   └── TooLarge         the request is longer than it may be
│   ├── TooComplex           the caller asks for less at a time
│   ├── PersistedQueryNotFound   the caller sends the document with its hash
│   ├── RateLimited          the caller asked too often: later again
│   ├── Unauthenticated      there is no token, or a bad one
│   ├── Forbidden            the token does not give the right
│   └── NotFound             what is named is not there
├── EventStoreError          the event log refused
│   ├── SerializationError   the publisher mends the event
│   └── ConsistencyError     the stream moved on: the caller reads it again
├── OperationEnded           a step has no attempt or no time left: the operation ends
└── ProjectionError          a fold failed
    ├── PoisonError          an event cannot be folded: it is set aside
    ├── CheckpointError      a checkpoint and the log disagree: rebuild
    └── RebuildRunning       another rebuild runs: wait for its end
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


class HistoryTooLong(Unavailable):
    """More events lie before a moment than an answer may fold; the message says what to ask."""


class CacheAway(ProgressError):
    """Redis is away, or did not answer in time; nothing is lost but speed."""


class Refused(ProgressError):
    """The query API refused a request: `code` says why to a program, the message to a person."""

    code = "BAD_USER_INPUT"


class BadInput(Refused):
    """An argument is none of those allowed; the message says which, and what was expected."""


class TooLarge(BadInput):
    """A request is longer than it may be; the caller asks for less at a time."""


class TooComplex(Refused):
    """A document asks for more than it may; the message says of what, and how much was found."""

    code = "QUERY_TOO_COMPLEX"


class PersistedQueryNotFound(Refused):
    """No document is kept under the hash; the caller sends the document with it, once."""

    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound")  # clients look for this very word


class RateLimited(Refused):
    """The caller has asked as often as a minute allows; `seconds` from now they may ask again."""

    code = "RATE_LIMITED"

    def __init__(self, why: str, seconds: int) -> None:
        super().__init__(why)
        self.seconds = seconds


class Unauthenticated(Refused):
    """A request without a token, or with one that is not good; the caller signs in."""

    code = "UNAUTHENTICATED"


class Forbidden(Refused):
    """The caller's role does not give the right; who may grant it is an administrator."""

    code = "FORBIDDEN"


class NotFound(Refused):
    """A request names something that is not there; the message says what."""

    code = "NOT_FOUND"


class EventStoreError(ProgressError):
    """The event log refused an operation."""


class SerializationError(EventStoreError):
    """An event is not what its declaration says; the publisher mends it.

    The message names what was expected and where: `expected an integer - at $.data.score`.
    """


class ConsistencyError(EventStoreError):
    """A stream is not at the version that the caller expected; nothing was appended."""


class OperationEnded(ProgressError):
    """An operation ends without having succeeded; `state` says how, the message why."""

    def __init__(self, state: str, why: str) -> None:
        super().__init__(why)
        self.state = state


class ProjectionError(ProgressError):
    """A fold failed; an operator reads the log."""


class PoisonError(ProjectionError):
    """An event of the window cannot be folded; the projector finds it and sets it aside."""


class CheckpointError(ProjectionError):
    """A checkpoint is ahead of the log or missing; an operator rebuilds the projections."""


class RebuildRunning(ProjectionError):
    """Another rebuild is running; the caller waits for its end."""
