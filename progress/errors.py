"""The exceptions that Progress raises, as one tree.

ProgressError
├── SettingsError                the operator corrects the environment
├── StackError                   the local stack cannot run; the developer follows the message
├── ReviewLogError               the caller corrects the file to import
├── Unavailable                  the caller tries the same call again later
│   ├── DatabaseUnavailable      PostgreSQL does not respond
│   ├── PubSubUnavailable        Pub/Sub does not respond
│   ├── StorageUnavailable       Cloud Storage does not respond
│   ├── DataflowUnavailable      Dataflow does not respond, or its quota is exhausted
│   ├── CopiesUnavailable        copies in Redis must be deleted, but Redis does not respond
│   ├── IssuerUnavailable        the token issuer does not publish its keys
│   ├── QueryUnavailable         the query function does not respond
│   ├── InstanceUnavailable      this instance is full or stopping, or one of its tasks has crashed
│   ├── DeadlineExceeded         the request's deadline has passed
│   ├── AttemptFailed            an attempt at an operation failed; another attempt follows
│   ├── ArchiveRunning           another run works on the archive; the caller waits until it ends
│   ├── OperationClaimed         another worker is running the operation
│   └── HistoryTooLong           too many events to fold; instead, the caller asks for fewer
├── ArchiveDamaged               a file of the archive is wrong; an archive run replaces the file
├── StatementFailed              PostgreSQL rejected a statement; a developer reads the log
├── RedisUnavailable             the caller continues without Redis
├── RequestRejected              the client of the query API corrects its request
│   ├── BadInput                 an argument is not allowed
│   │   └── RequestTooLarge      the request is too long
│   ├── QueryTooComplex          the document selects too much
│   ├── PersistedQueryNotFound   the hash is unknown; the client sends the document, too
│   ├── RateLimited              too many requests; the client tries again later
│   ├── Unauthenticated          the token is missing or not valid
│   ├── Forbidden                the caller's role does not permit the request
│   └── NotFound                 the requested object does not exist
├── EventStoreError              the event log rejected a call
│   ├── SerializationError       the publisher corrects the event
│   └── ConsistencyError         the stream has another version; the caller rereads the stream
│       └── EventRejected        a replayed or directly appended event breaks a rule
├── OperationEnded               an operation failed, timed out or was cancelled
└── ProjectionError              a fold failed
    ├── PoisonError              an event cannot be folded; the projector dead-letters it
    ├── CheckpointError          a checkpoint and the log disagree; an operator rebuilds
    ├── RebuildRunning           another rebuild is running; the caller waits until it ends
    └── RebuildEnded             the rebuild that a task works for has ended; the task ends, too

RedisUnavailable is not a subclass of Unavailable, because requests succeed when Redis is down.
"""


class ProgressError(Exception):
    """Every error that Progress raises itself."""


class SettingsError(ProgressError):
    """A setting is missing, misspelt or not valid; the operator corrects it."""


class StackError(ProgressError):
    """The local stack cannot run a command; the message says why and what to do."""


class ReviewLogError(ProgressError):
    """A row of a review log is invalid; the message names the row and the column."""


class Unavailable(ProgressError):
    """A dependency or this instance cannot serve the call; the same call may succeed later."""

    retry_after_s = 5


class DatabaseUnavailable(Unavailable):
    """PostgreSQL is unreachable or has cancelled the statement; the caller should retry."""

    retry_after_s = 2  # the longest pause of the circuit breaker between two probes


class PubSubUnavailable(Unavailable):
    """Pub/Sub is unreachable, or there are no credentials for it; the caller should retry."""


class StorageUnavailable(Unavailable):
    """Cloud Storage is unreachable or responds with server errors; the caller should retry."""


class DataflowUnavailable(Unavailable):
    """Dataflow is unreachable, responds with server errors or limits the caller's requests."""


class CopiesUnavailable(Unavailable):
    """Copies in Redis must be deleted, but Redis does not respond; the caller should retry."""


class IssuerUnavailable(Unavailable):
    """This instance could not fetch the token issuer's public keys; the client should retry."""


class QueryUnavailable(Unavailable):
    """The query function does not respond, or returns errors; the caller should retry."""


class InstanceUnavailable(Unavailable):
    """This instance is full or stopping, or one of its tasks crashed; the client should retry."""


class DeadlineExceeded(Unavailable):
    """The request's deadline has passed; the client should retry."""


class AttemptFailed(Unavailable):
    """An attempt at an operation failed; Pub/Sub delivers the operation's command again."""


class ArchiveRunning(Unavailable):
    """Another run works on the archive; the caller waits until it ends."""


class OperationClaimed(Unavailable):
    """Another worker runs the operation; until it ends, Pub/Sub delivers the command again."""


class HistoryTooLong(Unavailable):
    """A query of the past would fold too many events; the message says what to request instead."""


class ArchiveDamaged(ProgressError):
    """An archive file is missing, is damaged or differs from the log; archive runs replace it."""


class StatementFailed(ProgressError):
    """PostgreSQL rejected a statement of the query API; a developer reads the log."""

    def __init__(self, reason: str, sqlstate: str) -> None:
        super().__init__(reason)
        self.sqlstate = sqlstate


class RedisUnavailable(ProgressError):
    """Redis is unreachable or did not respond in time; the caller continues without Redis."""


class RequestRejected(ProgressError):
    """The query API rejects a request; `code` is for programs, the message for people."""

    code = "BAD_USER_INPUT"


class BadInput(RequestRejected):
    """An argument is not allowed; the message names the argument and what was expected."""


class RequestTooLarge(BadInput):
    """A request is too long; the client splits it."""


class QueryTooComplex(RequestRejected):
    """A document exceeds a limit; the message names the limit and the measured value."""

    code = "QUERY_TOO_COMPLEX"


class PersistedQueryNotFound(RequestRejected):
    """No document is stored under the hash; the client sends hash and document together, once."""

    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound")  # clients compare the message


class RateLimited(RequestRejected):
    """The caller has used up its requests of this minute; it may retry in `seconds`."""

    code = "RATE_LIMITED"

    def __init__(self, reason: str, seconds: int) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Unauthenticated(RequestRejected):
    """A request has no valid token; the caller signs in."""

    code = "UNAUTHENTICATED"


class Forbidden(RequestRejected):
    """The caller's role does not permit the request; an administrator may grant another role."""

    code = "FORBIDDEN"


class NotFound(RequestRejected):
    """A requested object does not exist; the message names it."""

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
    """A replayed or directly appended event breaks a rule; `kind` is the kind of dead letter."""

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.kind = kind


class OperationEnded(ProgressError):
    """An operation ends without success, in this `state`; the message says why.

    If something cancelled the operation, `cancelled_by` names it, and no operator has to act.
    """

    def __init__(self, state: str, reason: str, *, cancelled_by: str | None = None) -> None:
        super().__init__(reason)
        self.state, self.cancelled_by = state, cancelled_by


class ProjectionError(ProgressError):
    """A fold failed; an operator reads the log."""


class PoisonError(ProjectionError):
    """An event of the window cannot be folded; the projector finds it and dead-letters it."""


class CheckpointError(ProjectionError):
    """A checkpoint is missing or ahead of the log; an operator rebuilds the projections."""


class RebuildRunning(ProjectionError):
    """Another rebuild is running; the caller waits until it ends."""


class RebuildEnded(ProjectionError):
    """A task loads buckets for a rebuild that has ended or was started again."""
