"""The backlog of changes since the last batch run: a pull subscription on `progress-commands`.

A batch run that finds no message does not connect to the database, so that an idle database can
sleep. A run acknowledges its messages at the end, so a run that fails or dies leaves them to the
next run.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from progress.adapters.pubsub import clients
from progress.adapters.telemetry import logs
from progress.errors import PubSubUnavailable
from progress.settings import Settings

_FIRST_PULL_TIMEOUT_S = 10.0  # a wait adds no cost, because a run is billed for at least a minute
_NEXT_PULL_TIMEOUT_S = 2.0
_SETTLE_TIMEOUT_S = 10.0
_PULL_SIZE = 1_000  # messages per pull; also the most ids that an Acknowledge call accepts
_MAX_PULLS = 50  # The next run pulls the rest.


class Backlog:
    """The messages that were waiting when the run began."""

    def __init__(self, settings: Settings) -> None:
        project, name = settings.pubsub_project_id, settings.changes_subscription
        self._subscription = f"projects/{project}/subscriptions/{name}"
        self._emulator = settings.pubsub_emulator_host
        self._pulled: list[list[str]] = []  # Ack ids.
        self.is_idle = False  # True if the pull found no message.
        self.messages = 0

    def pull(self) -> None:
        """Pull the messages; a pull that times out counts as empty.

        Raise PubSubUnavailable if a pull fails for another reason.
        """
        while len(self._pulled) < _MAX_PULLS:
            timeout_s = _NEXT_PULL_TIMEOUT_S if self._pulled else _FIRST_PULL_TIMEOUT_S
            ack_ids = self._pull_once(timeout_s)
            if not ack_ids:
                break
            self._pulled.append(ack_ids)
        self.messages = sum(map(len, self._pulled))
        self.is_idle = not self._pulled

    def acknowledge(self) -> None:
        self._settle("acknowledge")

    def give_back(self) -> None:
        """Set the ack deadline of unacknowledged messages to 0 s, so that they are redelivered."""
        self._settle("modify_ack_deadline", ack_deadline_seconds=0)

    def _pull_once(self, timeout_s: float) -> list[str]:
        from google.api_core.exceptions import DeadlineExceeded

        try:
            response = self._call("pull", timeout_s, max_messages=_PULL_SIZE)
        except PubSubUnavailable as error:
            if isinstance(error.__cause__, DeadlineExceeded):
                return []
            raise
        return [received.ack_id for received in response.received_messages]

    def _settle(self, method: str, **fields: int) -> None:
        pulled, self._pulled = self._pulled, []
        for ack_ids in pulled:
            try:
                self._call(method, _SETTLE_TIMEOUT_S, ack_ids=ack_ids, **fields)
            except PubSubUnavailable as error:  # a redelivery only causes an extra batch run
                logs.write(
                    "WARNING", f"{method} failed for the backlog: {error}", operation="batch"
                )
                return

    def _call(self, method: str, timeout_s: float, **fields: Any) -> Any:
        from google.pubsub_v1 import SubscriberClient

        with clients.translate_errors():
            call = getattr(clients.find(SubscriberClient, self._emulator), method)
            return call(subscription=self._subscription, retry=None, timeout=timeout_s, **fields)


@contextlib.contextmanager
def open_backlog(settings: Settings) -> Iterator[Backlog]:
    """Pull the backlog before the `with` block; afterwards, give back unacknowledged messages.

    Parallel tasks do not pull, because each task would see only some of the messages. A retried
    task never counts as idle, because Pub/Sub may not have redelivered the messages of the previous
    attempt yet.
    """
    backlog = Backlog(settings)
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
