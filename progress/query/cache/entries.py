"""An entry of the cache: a result with the versions that it depends on, and its form in Redis."""

import zlib
from datetime import datetime
from typing import NamedTuple

import msgspec

from progress.adapters.redis.commands import Reply
from progress.query.cache.keys import CacheKey, CachePolicy
from progress.query.cache.versions import SharedVersions

Day = tuple[datetime, datetime]  # the beginning and the end of a learner's local day


class Validator(NamedTuple):
    """The identity of a result, and the versions that it depends on; other versions are None."""

    params: str  # the same as in the cache key, so that an entry under a wrong key is not used
    learner: int
    schema: int
    batch: int | None
    catalogue: int | None
    day: tuple[float, float] | None  # its beginning and its end, in seconds since 1970


class RequestVersions(msgspec.Struct):
    """The versions seen by a request.

    The validator of a cache entry is compared only with versions that were read after the request
    arrived. The validator of a new entry may contain versions that are up to a second old.
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
                int(copy) if isinstance(copy, bytes) and copy.isdigit() and len(copy) < 20 else None
                for copy in reply
            ]
            self.schema, self.batch, self.catalogue, *learners = versions
            self.learners = dict(zip(self.learners, learners, strict=True))

    def lacks_version(self, policy: CachePolicy) -> bool:
        return (
            self.schema is None
            or (policy.batch and self.batch is None)
            or (policy.catalogue and self.catalogue is None)
        )

    def fill(self, shared: SharedVersions) -> None:
        self.schema = shared.schema if self.schema is None else self.schema
        self.batch = shared.batch if self.batch is None else self.batch
        self.catalogue = shared.catalogue if self.catalogue is None else self.catalogue

    def validator(self, key: CacheKey, learner: int, day: Day | None) -> Validator:
        """Return the validator of a result that is computed after these versions were seen."""
        policy = key.policy
        if self.schema is None or self.lacks_version(policy):
            raise ValueError("expected the shared versions to be read before the validator")
        return Validator(
            key.params,
            learner,
            self.schema,
            self.batch if policy.batch else None,
            self.catalogue if policy.catalogue else None,
            (day[0].timestamp(), day[1].timestamp()) if policy.clock and day else None,
        )

    def is_current(self, validator: Validator, key: CacheKey) -> bool:
        policy = key.policy
        return (
            validator.params == key.params
            and validator.learner == self.learners.get(key.user_id)
            and validator.schema == self.schema
            and validator.batch == (self.batch if policy.batch else None)
            and validator.catalogue == (self.catalogue if policy.catalogue else None)
            and self._is_same_day(validator)
        )

    def allows(self, validator: Validator, key: CacheKey) -> bool:
        """Return False if it is another day, or if the request has seen a newer version."""
        pairs = (
            (validator.learner, self.learners.get(key.user_id)),
            (validator.schema, self.schema),
            (validator.batch, self.batch),
            (validator.catalogue, self.catalogue),
        )
        newer = any(own is not None and seen is not None and seen > own for own, seen in pairs)
        return not newer and self._is_same_day(validator)

    def _is_same_day(self, validator: Validator) -> bool:
        """Return whether the result holds now. A clock that was ahead leaves results of later."""
        day = validator.day
        return day is None or day[0] <= self.at.timestamp() < day[1]


def encode(validator: Validator, data: bytes) -> bytes:
    """Return an entry: a checksum of the rest, the validator as JSON, a line feed, and the data."""
    rest = msgspec.json.encode(validator) + b"\n" + data
    return _checksum(rest) + rest


def decode(entry: bytes) -> tuple[Validator, bytes] | None:
    """Return the validator and the data; None if the entry is not what `encode` returned."""
    if entry[:_CHECKSUM_LENGTH] != _checksum(memoryview(entry)[_CHECKSUM_LENGTH:]):
        return None
    end = entry.find(b"\n")
    try:
        return _decode_validator(entry[_CHECKSUM_LENGTH:end]), entry[end + 1 :]
    except msgspec.DecodeError:
        return None


def _checksum(rest: bytes | memoryview) -> bytes:
    return b"%08x" % zlib.crc32(rest)


_decode_validator = msgspec.json.Decoder(Validator).decode
_CHECKSUM_LENGTH = 8
