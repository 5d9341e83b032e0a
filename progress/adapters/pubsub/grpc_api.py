"""Pub/Sub by plain gRPC calls, because the client library takes 200 ms to import.

The client library also sends batches in the background, but an instance gets no CPU between
requests.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from progress import settings
from progress.errors import PubSubUnavailable

if TYPE_CHECKING:
    import grpc

_VARINT, _LENGTH_DELIMITED = 0, 2
_WIDTHS = {1: 8, 5: 4}  # sizes in bytes of the wire types of fixed width

# By default, gRPC waits up to two minutes before it connects again.
_OPTIONS = (("grpc.max_reconnect_backoff_ms", 5_000),)


def open_channel() -> "grpc.Channel":
    """Open a channel; raise PubSubUnavailable if there are no credentials.

    Call this after any fork, because a channel does not survive a fork.
    """
    import grpc  # takes 40 ms, so it is imported late

    emulator = settings.current().pubsub_emulator_host
    if emulator:
        return grpc.insecure_channel(emulator, _OPTIONS)
    import google.auth
    import google.auth.transport.grpc
    import google.auth.transport.requests

    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/pubsub"])
    except google.auth.exceptions.GoogleAuthError as error:
        raise PubSubUnavailable(f"no credentials for Pub/Sub: {error}") from error
    channel: grpc.Channel = google.auth.transport.grpc.secure_authorized_channel(  # type: ignore[no-untyped-call]  # it ships no types
        credentials,
        google.auth.transport.requests.Request(),
        "pubsub.googleapis.com:443",
        options=_OPTIONS,
    )
    return channel


def field(number: int, value: bytes) -> bytes:
    """Encode a length-delimited field of Protocol Buffers."""
    return bytes([number << 3 | _LENGTH_DELIMITED]) + _varint(len(value)) + value


def number_field(number: int, value: int) -> bytes:
    """Encode a field that holds a non-negative number."""
    return bytes([number << 3 | _VARINT]) + _varint(value)


def fields(message: bytes, number: int) -> Iterator[bytes]:
    """Yield the length-delimited fields with this number, in order."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        if key & 7 == _VARINT:
            _, at = _read_varint(message, at)
            continue
        width = _WIDTHS.get(key & 7)
        if width is None:
            width, at = _read_varint(message, at)
            if key >> 3 == number:
                yield message[at : at + width]
        at += width


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at` and the position after it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
