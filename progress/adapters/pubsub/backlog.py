"""The backlog of changes since the last batch run: a pull subscription on `progress-commands`.

A batch run that finds no message does not connect to the database, so that an idle database can
sleep. A run acknowledges its messages at the end, so a run that fails or dies leaves them to the
next run.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from progress.adapters.pubsub import grpc_api
from progress.adapters.telemetry import logs
from progress.errors import PubSubUnavailable
from progress.settings import Settings

if TYPE_CHECKING:
    import grpc

_SERVICE = "/google.pubsub.v1.Subscriber/"
_FIRST_PULL_TIMEOUT_S = 10.0  # a wait adds no cost, because a run is billed for at least a minute
_NEXT_PULL_TIMEOUT_S = 2.0
_SETTLE_TIMEOUT_S = 10.0
_PULL_SIZE = 1_000  # messages per pull; also the most ids that an Acknowledge call accepts
_MAX_PULLS = 50  # The next run pulls the rest.


class Backlog:
    """The messages that were waiting when the run began."""

    def __init__(self, project: str, subscription: str | None) -> None:
        name = f"projects/{project}/subscriptions/{subscription}"
        self._subscription = grpc_api.field(1, name.encode())
        self._pulled: list[list[bytes]] = []  # Ack ids.
        self.is_idle = False  # True if the pull found no message.
        self.messages = 0

    def pull(self) -> None:
        """Pull the messages; a pull that times out counts as empty.

        Raise PubSubUnavailable if a pull fails for another reason.
        """
        request = self._subscription + grpc_api.number_field(3, _PULL_SIZE)
        while len(self._pulled) < _MAX_PULLS:
            timeout_s = _NEXT_PULL_TIMEOUT_S if self._pulled else _FIRST_PULL_TIMEOUT_S
            response = _call("Pull", request, timeout_s=timeout_s)
            ack_ids = [
                ack_id
                for received in grpc_api.fields(response or b"", 1)
                for ack_id in grpc_api.fields(received, 1)
            ]
            if not ack_ids:
                break
            self._pulled.append(ack_ids)
        self.messages = sum(map(len, self._pulled))
        self.is_idle = not self._pulled

    def acknowledge(self) -> None:
        """Acknowledge the pulled messages."""
        self._settle("Acknowledge", 2)

    def give_back(self) -> None:
        """Set the ack deadline of unacknowledged messages to 0 s, so that they are redelivered."""
        self._settle("ModifyAckDeadline", 4)

    def _settle(self, method: str, number: int) -> None:
        pulled, self._pulled = self._pulled, []
        for ack_ids in pulled:
            fields = b"".join(grpc_api.field(number, ack_id) for ack_id in ack_ids)
            request = self._subscription + fields
            try:
                if _call(method, request, timeout_s=_SETTLE_TIMEOUT_S) is None:
                    raise PubSubUnavailable("no response in time")
            except PubSubUnavailable as error:  # a redelivery only causes an extra batch run
                logs.write(
                    "WARNING", f"{method} failed for the backlog: {error}", operation="batch"
                )
                return


@contextlib.contextmanager
def open_backlog(settings: Settings) -> Iterator[Backlog]:
    """Pull the backlog before the `with` block; afterwards, give back unacknowledged messages.

    Parallel tasks do not pull, because each task would see only some of the messages. A retried
    task never counts as idle, because Pub/Sub may not have redelivered the messages of the previous
    attempt yet.
    """
    backlog = Backlog(settings.pubsub_project_id, settings.changes_subscription)
    if settings.changes_subscription and settings.cloud_run_task_count == 1:
        try:
            backlog.pull()
        except PubSubUnavailable as error:
            logs.write("WARNING", f"cannot look for changes: {error}", operation="batch")
    backlog.is_idle &= settings.cloud_run_task_attempt == 0
    try:
        yield backlog
    finally:
        backlog.give_back()


def _call(method: str, request: bytes, *, timeout_s: float) -> bytes | None:
    """Return the response; None if it did not arrive in time."""
    import grpc

    try:
        call: Callable[..., bytes] = _channel().unary_unary(_SERVICE + method)
        return call(request, timeout=timeout_s)
    except grpc.RpcError as error:
        code = error.code() if isinstance(error, grpc.Call) else error
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return None
        raise PubSubUnavailable(f"{code}") from error


@functools.cache
def _channel() -> "grpc.Channel":
    return grpc_api.open_channel()
