"""The hand-written encoding of Pub/Sub's messages equals that of Google's client library."""

from google.pubsub_v1.types import (
    AcknowledgeRequest,
    ModifyAckDeadlineRequest,
    PubsubMessage,
    PullRequest,
    PullResponse,
    ReceivedMessage,
)
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.pubsub import grpc_api as wire


@given(
    received=st.lists(st.tuples(st.text(min_size=1), st.binary(), st.integers(0, 2**31 - 1))),
)
def test_a_response_that_the_library_encoded_is_decoded(
    received: list[tuple[str, bytes, int]],
) -> None:
    answer = PullResponse(
        received_messages=[
            ReceivedMessage(
                ack_id=ack_id, message=PubsubMessage(data=data), delivery_attempt=attempt
            )
            for ack_id, data, attempt in received
        ]
    )
    read = [
        (ack_id.decode(), b"".join(wire.fields(message, 1)))
        for received in wire.fields(PullResponse.serialize(answer), 1)
        for ack_id in wire.fields(received, 1)
        for message in wire.fields(received, 2)
    ]
    assert read == [(ack_id, data) for ack_id, data, _ in received]


@given(name=st.text(min_size=1), ids=st.lists(st.text(min_size=1)), most=st.integers(1, 2**31 - 1))
def test_the_library_decodes_a_request_that_the_client_encoded(
    name: str, ids: list[str], most: int
) -> None:
    subscription = wire.field(1, name.encode())
    pull = PullRequest.deserialize(subscription + wire.number_field(3, most))
    assert (pull.subscription, pull.max_messages) == (name, most)
    for call, number in ((AcknowledgeRequest, 2), (ModifyAckDeadlineRequest, 4)):
        fields = b"".join(wire.field(number, ack_id.encode()) for ack_id in ids)
        read = call.deserialize(subscription + fields)
        assert (read.subscription, list(read.ack_ids)) == (name, ids)
