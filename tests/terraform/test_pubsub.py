"""The planned topics are those of the code."""

from progress.adapters.pubsub import wakeups
from progress.event_store import outgoing
from tests.support.terraform_state import Deployment

SOURCES = ("learning-events", "algorithm-events", "vocabulary-events", "user-events")


def test_topics_are_those_of_the_code(deployment: Deployment) -> None:
    topics = deployment.applied.of("google_pubsub_topic", "topic")
    assert topics.keys() == {*SOURCES, wakeups.TOPIC, outgoing.TOPIC}
