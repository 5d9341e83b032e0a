"""The exceptions that Progress raises, as one tree.

ProgressError
├── SettingsError                the operator corrects the environment
├── StackError                   the local stack cannot run: the developer follows the message
├── ReviewLogError               the caller corrects the file to import
├── Unavailable                  the caller tries the same call again later
│   ├── DatabaseUnavailable      PostgreSQL does not answer
│   ├── PubSubUnavailable        Pub/Sub does not answer
│   ├── IssuerUnavailable        the token issuer does not publish its keys
│   ├── QueryUnavailable         the query function does not answer
│   ├── InstanceUnavailable      this instance is full, stopping, or partly crashed
│   ├── DeadlineExceeded         the time for the request is over
│   ├── AttemptFailed            an attempt at an operation failed: another one follows
│   └── HistoryTooLong           too many events: the caller asks about another moment
├── RedisUnavailable             the caller continues without Redis
├── RequestRejected              the client of the query API corrects its request
│   ├── BadInput                 an argument is not allowed
│   │   └── RequestTooLarge      the request is too long
│   ├── QueryTooComplex          the document selects too much
│   ├── PersistedQueryNotFound   the hash is unknown: the client sends the document with it
│   ├── RateLimited              too many requests: the client tries again later
│   ├── Unauthenticated          the token is missing or not valid
│   ├── Forbidden                the role lacks the right
│   └── NotFound                 the named thing does not exist
├── EventStoreError              the event log rejected a call
│   ├── SerializationError       the publisher corrects the event
│   └── ConsistencyError         the stream has another version: the caller reads it again
│       └── EventRejected        an event without a message breaks a rule
├── OperationEnded               an operation failed, timed out or was cancelled: it ends
└── ProjectionError              a fold failed
    ├── PoisonError              an event cannot be folded: the projector sets it aside
    ├── CheckpointError          a checkpoint and the log disagree: an operator rebuilds
    └── RebuildRunning           another rebuild runs: the caller waits for its end

RedisUnavailable is not Unavailable: no request fails because Redis is down.
"""


class ProgressError(Exception):
    """Every error that Progress raises itself."""


class SettingsError(ProgressError):
    """A setting is missing, misspelt or not valid; the operator corrects it."""


class StackError(ProgressError):
    """The local stack cannot run a command; the message says why and what to do."""


class ReviewLogError(ProgressError):
    """A review log does not match its columns; the message names the row and the column."""


class Unavailable(ProgressError):
    """A dependency or this instance cannot serve the call; the same call may succeed later."""


class DatabaseUnavailable(Unavailable):
    """PostgreSQL cannot be reached, or cancelled the statement; the caller tries again."""


class PubSubUnavailable(Unavailable):
    """Pub/Sub cannot be reached, or has no credentials; the caller tries again."""


class IssuerUnavailable(Unavailable):
    """The token issuer has never published a key to this instance; the client tries again."""


class QueryUnavailable(Unavailable):
    """The query function does not answer, or answers with errors; the caller tries again."""


class InstanceUnavailable(Unavailable):
    """This instance is full, is stopping, or a part of it has crashed; the client tries again."""


class DeadlineExceeded(Unavailable):
    """The time for the request is over; the client tries again."""


class AttemptFailed(Unavailable):
    """An attempt at an operation failed; Pub/Sub delivers its command again."""


class HistoryTooLong(Unavailable):
    """More events lie before a moment than an answer may fold; the message says what to request."""


class RedisUnavailable(ProgressError):
    """Redis cannot be reached, or did not answer in time; the caller continues without it."""


class RequestRejected(ProgressError):
    """The query API rejects a request: `code` is for programs, the message for people."""

    code = "BAD_USER_INPUT"


class BadInput(RequestRejected):
    """An argument is not allowed; the message names it and says what was expected."""


class RequestTooLarge(BadInput):
    """A request is too long; the client splits it."""


class QueryTooComplex(RequestRejected):
    """A document exceeds a limit; the message names the limit and the measured value."""

    code = "QUERY_TOO_COMPLEX"


class PersistedQueryNotFound(RequestRejected):
    """No document is stored under the hash; the client sends the document with it, once."""

    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound")  # clients compare the message


class RateLimited(RequestRejected):
    """The caller used up its requests of this minute; it may try again in `seconds`."""

    code = "RATE_LIMITED"

    def __init__(self, reason: str, seconds: int) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Unauthenticated(RequestRejected):
    """A request without a token, or with one that is not valid; the caller signs in."""

    code = "UNAUTHENTICATED"


class Forbidden(RequestRejected):
    """The caller's role lacks the right; an administrator may grant it."""

    code = "FORBIDDEN"


class NotFound(RequestRejected):
    """A request names something that does not exist; the message names it."""

    code = "NOT_FOUND"


class EventStoreError(ProgressError):
    """The event log rejected a call; the message says why."""


class SerializationError(EventStoreError):
    """An event does not match its declaration; the publisher corrects it.

    The message says what was expected and where: `expected an integer - at $.data.score`.
    """


class ConsistencyError(EventStoreError):
    """A stream is not at the version that the caller expected; nothing was appended."""


class EventRejected(ConsistencyError):
    """An event without a message breaks a rule; `kind` is what its dead letter would be."""

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.kind = kind


class OperationEnded(ProgressError):
    """An operation ends without success, in this `state`; the message says why."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state = state


class ProjectionError(ProgressError):
    """A fold failed; an operator reads the log."""


class PoisonError(ProjectionError):
    """An event of the window cannot be folded; the projector finds it and sets it aside."""


class CheckpointError(ProjectionError):
    """A checkpoint is missing or ahead of the log; an operator rebuilds the projections."""


class RebuildRunning(ProjectionError):
    """Another rebuild is running; the caller waits for its end."""
