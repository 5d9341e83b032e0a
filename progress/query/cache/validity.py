"""The stamp of a result, and its comparison with the current versions."""

from datetime import datetime
from typing import NamedTuple

import msgspec

from progress.adapters.redis.commands import Reply
from progress.query.cache.policy import CacheKey, CachePolicy
from progress.query.cache.versions import SharedVersions


class VersionStamp(NamedTuple):
    """The identity of a result, and the versions that it depends on; other versions are None."""

    params: str  # the same as in the cache key, so that an entry under a wrong key is not used
    learner: int
    schema: int
    batch: int | None
    catalogue: int | None
    expires_at: float | None  # in seconds since 1970; the end of the learner's day or of an hour


class RequestVersions(msgspec.Struct):
    """The versions seen by a request.

    The stamp of a cache entry is compared only with versions that were read after the request
    arrived. The stamp of a new entry may contain versions that are up to a second old.
    """

    at: datetime  # When the request arrived.
    since: float  # When the request arrived, on the monotonic clock.
    learners: dict[str, int | None]
    schema: int | None = None
    batch: int | None = None
    catalogue: int | None = None

    def read_copies(self, reply: Reply) -> None:
        """Set the versions to the copies that Redis returned; a missing copy becomes None."""
        if isinstance(reply, list) and len(reply) == 3 + len(self.learners):
            versions = [
                int(copy) if isinstance(copy, bytes) and copy.isdigit() else None for copy in reply
            ]
            self.schema, self.batch, self.catalogue, *learners = versions
            self.learners = dict(zip(self.learners, learners, strict=True))

    def lacks_version(self, policy: CachePolicy) -> bool:
        """Return whether a shared version that the policy needs is missing."""
        return (
            self.schema is None
            or (policy.batch and self.batch is None)
            or (policy.catalogue and self.catalogue is None)
        )

    def fill(self, shared: SharedVersions) -> None:
        """Set the missing shared versions."""
        self.schema = shared.schema if self.schema is None else self.schema
        self.batch = shared.batch if self.batch is None else self.batch
        self.catalogue = shared.catalogue if self.catalogue is None else self.catalogue

    def stamp(self, key: CacheKey, learner: int, day_ends: datetime | None) -> VersionStamp:
        """Return the stamp of a result that is computed after these versions were seen."""
        policy = key.policy
        if self.schema is None or self.lacks_version(policy):
            raise ValueError("expected the shared versions to be read before a result is stamped")
        return VersionStamp(
            key.params,
            learner,
            self.schema,
            self.batch if policy.batch else None,
            self.catalogue if policy.catalogue else None,
            self._expiry(key, day_ends),
        )

    def _expiry(self, key: CacheKey, day_ends: datetime | None) -> float | None:
        """Return when the result expires, in seconds since 1970; None if it does not expire."""
        ends = [day_ends.timestamp()] if key.policy.clock and day_ends else []
        if key.is_hourly:
            ends.append((self.at.timestamp() // 3600 + 1) * 3600)
        return min(ends, default=None)

    def is_current(self, stamp: VersionStamp, key: CacheKey) -> bool:
        """Return whether the stamp is unexpired and has the request's `params` and versions."""
        policy = key.policy
        return (
            stamp.params == key.params
            and stamp.learner == self.learners.get(key.user_id)
            and stamp.schema == self.schema
            and stamp.batch == (self.batch if policy.batch else None)
            and stamp.catalogue == (self.catalogue if policy.catalogue else None)
            and self._is_unexpired(stamp)
        )

    def allows(self, stamp: VersionStamp, key: CacheKey) -> bool:
        """Return False if the stamp has expired, or if the request has seen a newer version."""
        pairs = (
            (stamp.learner, self.learners.get(key.user_id)),
            (stamp.schema, self.schema),
            (stamp.batch, self.batch),
            (stamp.catalogue, self.catalogue),
        )
        newer = any(own is not None and seen is not None and seen > own for own, seen in pairs)
        return not newer and self._is_unexpired(stamp)

    def _is_unexpired(self, stamp: VersionStamp) -> bool:
        return stamp.expires_at is None or self.at.timestamp() < stamp.expires_at


def encode(stamp: VersionStamp, data: bytes) -> bytes:
    """Return the cache entry of a result."""
    return msgspec.json.encode(stamp) + b"\n" + data


def decode(entry: bytes) -> tuple[VersionStamp, bytes] | None:
    """Return the stamp and the result of a cache entry; None if the entry is malformed."""
    head, _, data = entry.partition(b"\n")
    try:
        return _decode_stamp(head), data
    except msgspec.DecodeError:
        return None


_decode_stamp = msgspec.json.Decoder(VersionStamp).decode
