"""An entry of the cache in Redis: a checksum of the rest, the result's validator, and the data."""

import zlib

_CHECKSUM_LENGTH = 8


def encode(validator: bytes, data: bytes) -> bytes:
    rest = validator + data
    return _checksum(rest) + rest


def decode(entry: bytes, validator: bytes) -> bytes | None:
    """Return the data; None if the entry is not what `encode` returned with this validator."""
    rest = memoryview(entry)[_CHECKSUM_LENGTH:]
    if rest[: len(validator)] != validator or entry[:_CHECKSUM_LENGTH] != _checksum(rest):
        return None
    return bytes(rest[len(validator) :])


def _checksum(rest: bytes | memoryview) -> bytes:
    return b"%08x" % zlib.crc32(rest)
