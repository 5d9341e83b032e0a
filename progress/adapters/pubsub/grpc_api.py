"""Pub/Sub by plain gRPC calls, because the client library takes 200 ms to import.

The client library would also send messages in the background. An instance gets no CPU between
requests, so these messages would be delayed.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from progress import settings
from progress.errors import PubSubUnavailable

if TYPE_CHECKING:
    import grpc

_HOST = "pubsub.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/pubsub"
_VARINT, _LENGTH_DELIMITED = 0, 2
_WIDTHS = {1: 8, 5: 4}  # fixed-width wire types and their sizes in bytes

# By default, gRPC waits up to two minutes before it connects again.
_OPTIONS = (("grpc.max_reconnect_backoff_ms", 5_000),)


def open_channel() -> "grpc.Channel":
    """Open a channel to Google's Pub/Sub, or to the emulator if the settings name one.

    A channel does not survive a fork, so a forked process must open its own channel.
    """
    return open_channel_to(_HOST, _SCOPE, settings.current().pubsub_emulator_host)


def open_channel_to(host: str, scope: str, emulator: str | None) -> "grpc.Channel":
    """Open a channel to the emulator or, without an emulator, to one of Google's hosts.

    Raise PubSubUnavailable if there are no credentials.
    """
    import grpc  # takes 40 ms, so it is imported late

    if emulator:
        return grpc.insecure_channel(emulator, _OPTIONS)
    import google.auth
    import google.auth.transport.grpc
    import google.auth.transport.requests

    try:
        credentials, _ = google.auth.default(scopes=[scope])
    except google.auth.exceptions.GoogleAuthError as error:
        raise PubSubUnavailable(f"no credentials for {host}: {error}") from error
    channel: grpc.Channel = google.auth.transport.grpc.secure_authorized_channel(  # type: ignore[no-untyped-call]  # it ships no types
        credentials,
        google.auth.transport.requests.Request(),
        f"{host}:443",
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
    """Yield the values of the length-delimited fields with this field number, in order."""
    for key, value in _read_fields(message):
        if key >> 3 == number and isinstance(value, bytes):
            yield value


def number_fields(message: bytes, number: int) -> Iterator[int]:
    """Yield the unsigned values of the varint fields with this field number, in order."""
    for key, value in _read_fields(message):
        if key >> 3 == number and isinstance(value, int):
            yield value


def _read_fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the key and the value of each field; omit fields of fixed width."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        if key & 7 == _VARINT:
            value, at = _read_varint(message, at)
            yield key, value
            continue
        width = _WIDTHS.get(key & 7)
        if width is None:
            width, at = _read_varint(message, at)
            yield key, message[at : at + width]
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
