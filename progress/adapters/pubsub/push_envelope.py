"""The envelope of a Pub/Sub push request, raw or as an Eventarc CloudEvent."""

import msgspec

from progress.errors import SerializationError


class PushedMessage(msgspec.Struct, rename="camel"):
    """The message of a push request."""

    message_id: str = ""
    publish_time: str | None = None
    data: bytes | None = None
    attributes: dict[str, str] | None = None


class PushEnvelope(msgspec.Struct, rename="camel"):
    """The body of a push request."""

    message: PushedMessage
    subscription: str = ""


_decoder = msgspec.json.Decoder(PushEnvelope)


def parse(body: bytes | bytearray) -> PushEnvelope:
    """Parse the body of a push request; raise SerializationError if it is invalid."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise SerializationError("expected a Pub/Sub push with a message - at $") from None
