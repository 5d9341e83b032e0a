"""What changed since the last batch run: the backlog of a pull subscription on `progress-commands`.

For a database that sleeps while nobody asks it: who looks here first wakes it only when there is
something to do. Messages are acknowledged after the run that they brought about: one that fails
or dies leaves them to the next.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from progress import settings
from progress.adapters.pubsub import grpc_api
from progress.adapters.telemetry import logs
from progress.errors import Unavailable

if TYPE_CHECKING:
    import grpc

_SERVICE = "/google.pubsub.v1.Subscriber/"
_FIRST = 10.0  # seconds; a run is paid for a minute at least
_MORE = 2.0
_AT_ONCE = 1_000  # messages; as many ack ids fit into a call
_MOST_PULLS = 50  # what remains brings about the next run
_SECONDS = 10.0


class Backlog:
    """The messages that were there when the run began; none of them where it is not to look."""

    def __init__(self, subscription: str | None) -> None:
        name = f"projects/{settings.current().pubsub_project_id}/subscriptions/{subscription}"
        self._subscription = grpc_api.field(1, name.encode())
        self._pulled: list[list[bytes]] = []  # ack ids
        self.is_idle = False  # whether it was seen that nothing changed
        self.messages = 0

    def pull(self) -> None:
        """Take what is there. Unavailable where that cannot be known."""
        request = self._subscription + grpc_api.number_field(3, _AT_ONCE)
        while len(self._pulled) < _MOST_PULLS:
            answer = _call("Pull", request, seconds=_MORE if self._pulled else _FIRST)
            ack_ids = [
                ack_id
                for received in grpc_api.fields(answer or b"", 1)
                for ack_id in grpc_api.fields(received, 1)
            ]
            if not ack_ids:
                break
            self._pulled.append(ack_ids)
        self.messages = sum(map(len, self._pulled))
        self.is_idle = not self._pulled

    def acknowledge(self) -> None:
        """Have what was pulled, and nothing else, forgotten."""
        self._settle("Acknowledge", 2)

    def give_back(self) -> None:
        """Have what was pulled and not acknowledged come again: by a deadline of no seconds."""
        self._settle("ModifyAckDeadline", 4)

    def _settle(self, method: str, number: int) -> None:
        pulled, self._pulled = self._pulled, []
        for ack_ids in pulled:
            fields = b"".join(grpc_api.field(number, ack_id) for ack_id in ack_ids)
            try:
                if _call(method, self._subscription + fields, seconds=_SECONDS) is None:
                    raise Unavailable("no answer in time")
            except Unavailable as fault:  # they come again, and bring about a run too many
                logs.write("WARNING", f"{method} of changes: {fault}", operation="batch")
                return


@contextlib.contextmanager
def looked_at(here: settings.Settings) -> Iterator[Backlog]:
    """What is there, for the block to acknowledge; the rest is given back.

    Several tasks do not share what one of them pulls, so they do not look. One that is tried again
    runs in any case: the messages of an attempt that died are not back yet.
    """
    found = Backlog(here.changes_subscription)
    if here.changes_subscription and here.cloud_run_task_count == 1:
        try:
            found.pull()
        except Unavailable as fault:
            logs.write("WARNING", f"cannot look for changes: {fault}", operation="batch")
    found.is_idle &= here.cloud_run_task_attempt == 0
    try:
        yield found
    finally:
        found.give_back()


def _call(method: str, request: bytes, *, seconds: float) -> bytes | None:
    """The answer; None where none came in time."""
    import grpc

    try:
        made: Callable[..., bytes] = _channel().unary_unary(_SERVICE + method)
        return made(request, timeout=seconds)
    except grpc.RpcError as fault:
        code = fault.code() if isinstance(fault, grpc.Call) else fault
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return None
        raise Unavailable(f"{code}") from fault


@functools.cache
def _channel() -> "grpc.Channel":
    return grpc_api.channel()
