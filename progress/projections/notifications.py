"""Notifications publish committed changes of the read models to Redis.

A notification updates the version copies in Redis, so that older cached responses are not served.
The notification also reaches the subscribers of a learner's or an operation's channel. A
notification takes at most 50 ms. If a notification is lost, the change remains committed, but
responses may be five seconds out of date (see `progress.adapters.redis.version_keys`).
"""

import time
from collections.abc import Sequence

import msgspec

from progress.adapters.redis import channels, resp, version_keys
from progress.adapters.redis.connections import Connections
from progress.adapters.redis.resp import Command
from progress.adapters.telemetry import tracing
from progress.projections import schema

_REDIS = {"db.system.name": "redis"}


class Change(msgspec.Struct, frozen=True):
    """The changes of one fold; `version` is None if the fold changed nothing."""

    version: int | None
    learners: str | None  # as JSON
    catalogue: bool | None
    began: float = msgspec.field(default_factory=time.monotonic)  # measured before the commit


class Publisher:
    """A publisher that sends changes to a Redis server; without a URL, it does nothing."""

    def __init__(self, url: str | None) -> None:
        """Do not open a connection yet, so that the process may still fork."""
        self._connections = Connections(url) if url else None

    @property
    def is_enabled(self) -> bool:
        """True if a Redis server is configured."""
        return self._connections is not None

    def publish(self, change: Change, catalogue: int | None = None) -> bool:
        """Publish a window's change, with the catalogue's version if the catalogue changed.

        This method and the other publishing methods return False if the notification is lost.
        """
        ends = version_keys.expires_at_ms(change.began)
        commands: list[Command] = []
        if change.version is not None and change.learners:
            key = version_keys.learner_key(schema.schema_name(), "")
            commands.append(
                ("EVAL", version_keys.PUBLISH_SCRIPT, 0, ends, change.version, change.learners, key)
            )
        if catalogue is not None:
            commands.append(_keep_version(version_keys.CATALOGUE, ends, catalogue))
            commands.append(("PUBLISH", channels.EVERYONE, catalogue))
        return self._send(commands)

    def publish_batch(self, version: int, *, known_at: float) -> bool:
        """Publish the version of the batch models."""
        return self._send(
            [_keep_version(version_keys.BATCH, version_keys.expires_at_ms(known_at), version)]
        )

    def publish_swap(self, version: int, *, known_at: float) -> bool:
        """Publish the version of the read models that a rebuild has swapped in."""
        keep = _keep_version(version_keys.SWAP, version_keys.expires_at_ms(known_at), version)
        return self._send([keep, ("PUBLISH", channels.EVERYONE, version)])

    def publish_operation(self, operation_id: str, version: int) -> bool:
        """Publish the new version of an operation."""
        return self._send([("PUBLISH", channels.OPERATION + operation_id, version)])

    def _send(self, commands: Sequence[Command]) -> bool:
        if self._connections is None or not commands:
            return True
        with tracing.child_span("notice", "client", _REDIS) as span:
            span.set_attribute("db.operation.name", resp.operation_name(commands))
            return self._connections.send(commands)


DISABLED = Publisher(None)


def _keep_version(kind: str, ends: int, version: int) -> Command:
    key = version_keys.shared_key(schema.schema_name(), kind)
    return ("EVAL", version_keys.SET_SCRIPT, 1, key, ends, version)
