"""The exceptions that Progress raises. The docstring of each says who must act.

RedisUnavailable is not a subclass of Unavailable, because requests succeed when Redis is down.
"""


class ProgressError(Exception):
    """The base class of the errors that Progress defines."""


class SettingsError(ProgressError):
    """A setting is missing, misspelt or not valid; the operator corrects it."""


class StackError(ProgressError):
    """A command of the local stack failed; the developer follows the message."""


class ReviewLogError(ProgressError):
    """A row of a file to import is invalid; the caller corrects the row that the message names."""


class TableLocked(ProgressError):
    """A session has locked a table that a command reads; the operator ends this session.

    `session` is the pid of its backend, or None if it is gone by now.
    """

    def __init__(self, found: str, do: str, session: int | None = None) -> None:
        super().__init__(f"{found}: {do}")
        self.found, self.do, self.session = found, do, session


class Unavailable(ProgressError):
    """A dependency or this instance cannot serve the call; the caller repeats the call later."""

    retry_after_s = 5


class DatabaseUnavailable(Unavailable):
    """PostgreSQL is unreachable, has cancelled the statement, or takes no trace of an access."""

    retry_after_s = 2  # the longest pause of the circuit breaker between two probes


class StatementTimedOut(DatabaseUnavailable):
    """A statement ran into its time limit; the log names the field, and a developer reads it."""


class PubSubUnavailable(Unavailable):
    """Pub/Sub is unreachable, or there are no credentials for it."""


class WebhookUnavailable(PubSubUnavailable):
    """The receiver at WEBHOOK_URL has not accepted a message; the publisher posts it again."""


class StorageUnavailable(Unavailable):
    """Cloud Storage is unreachable or responds with server errors."""


class CopiesUnavailable(Unavailable):
    """An erasure cannot delete copies in Redis, which does not respond."""


class IssuerUnavailable(Unavailable):
    """This instance could not fetch the token issuer's public keys."""


class InstanceUnavailable(Unavailable):
    """This instance is full or stopping, or one of its tasks crashed."""


class DeadlineExceeded(Unavailable):
    """The request's deadline has passed."""


class AttemptFailed(Unavailable):
    """An attempt at an operation failed; Pub/Sub delivers the operation's command again."""


class ArchiveRunning(Unavailable):
    """Another process works on the archive; the caller waits until that process ends."""


class OperationClaimed(Unavailable):
    """Another worker is running the operation; Pub/Sub delivers the command again later."""


class HistoryTooLong(Unavailable):
    """A query about the past would fold too many events; the message says what to ask instead."""


class ArchiveDamaged(ProgressError):
    """A file of the archive is missing or damaged, or a range just written differs from the log.

    If the message names a range's file that exists, an operator removes it. Then `progress
    archive` writes the range again.
    """


class StatementFailed(ProgressError):
    """PostgreSQL rejected a statement of the query API; a developer reads the error log."""

    def __init__(self, reason: str, sqlstate: str) -> None:
        super().__init__(reason)
        self.sqlstate = sqlstate


class RedisUnavailable(ProgressError):
    """Redis is unreachable or did not respond in time; the caller continues without Redis."""


class RequestRejected(ProgressError):
    """The query API rejects a request; its client corrects the request.

    `code` is for programs, the message for people. `status` is the HTTP status.
    """

    code = "BAD_USER_INPUT"
    status = 400


class BadInput(RequestRejected):
    """An argument is not allowed; the message names the argument and what was expected."""


class RequestTooLarge(BadInput):
    """A request is too long; the client splits it."""

    status = 413


class RequestTooSlow(RequestRejected):
    """The body of a request has not arrived in time; the client sends it again."""

    code = "UNAVAILABLE"
    status = 408


class QueryTooComplex(RequestRejected):
    """A document exceeds a limit; the message names the limit and the measured value."""

    code = "QUERY_TOO_COMPLEX"


class PersistedQueryNotSupported(RequestRejected):
    """A request names its document by a hash. The client must send the document."""

    code = "PERSISTED_QUERY_NOT_SUPPORTED"
    status = 200  # APQ requires this status; the client then sends the document

    def __init__(self) -> None:
        super().__init__(
            "PersistedQueryNotSupported"
        )  # clients recognize the error by this message


class RateLimited(RequestRejected):
    """The caller exceeds a limit, such as requests per minute; it may retry after `seconds`.

    `allowance` names that of a learner's posts, entries or changes of lists, if it is one of these.
    """

    code = "RATE_LIMITED"
    status = 429

    def __init__(self, reason: str, seconds: int, allowance: str | None = None) -> None:
        super().__init__(reason)
        self.seconds, self.allowance = seconds, allowance


class InstanceFull(RateLimited):
    """The bodies of requests take too much memory; the client sends this one again."""

    def __init__(self) -> None:
        super().__init__("this instance is full: send the request again later", 1)


class CallerBusy(RateLimited, Unavailable):
    """Too many statements of the caller wait for the database; the caller lets some of them end."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, 1)


class Unauthenticated(RequestRejected):
    """A request has no valid token; the caller signs in."""

    code = "UNAUTHENTICATED"
    status = 401


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


class LettersFull(EventStoreError):
    """The open dead letters hold too many bytes; an administrator replays or discards some.

    Nothing of the delivery was recorded. The message says whose letters these are.
    """


class ConsistencyError(EventStoreError):
    """A stream is not at the expected version; the caller reads it again. Nothing was appended."""


class EventRejected(ConsistencyError):
    """A replay or `append_events` found an event that breaks a rule.

    `kind` is the kind of dead letter that ingest would store for such an event.
    """

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.kind = kind


class OperationEnded(ProgressError):
    """An operation ends without success, in this `state`; the message says why.

    If the operation was cancelled, `cancelled_by` names the user or the cause. In this case,
    no operator has to act.
    """

    def __init__(self, state: str, reason: str, *, cancelled_by: str | None = None) -> None:
        super().__init__(reason)
        self.state, self.cancelled_by = state, cancelled_by


class ProjectionError(ProgressError):
    """A fold failed; an operator reads the error log."""


class PoisonError(ProjectionError):
    """An event of the window cannot be folded; the projector finds it and dead-letters it."""


class CheckpointError(ProjectionError):
    """A checkpoint is missing or ahead of the log; an operator rebuilds the projections."""


class RebuildRunning(ProjectionError):
    """A rebuild or an erasure is running; the caller waits until it ends."""


class RebuildEnded(ProjectionError):
    """The rebuild of which a task loads rows has ended or was started again; the task ends, too."""
