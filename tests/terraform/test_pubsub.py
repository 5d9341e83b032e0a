"""The planned topics: those of the code, and without learners in BigQuery."""

from progress.adapters.pubsub import wakeups
from progress.event_store import events, outgoing
from tests.support.cloud_run import only
from tests.support.terraform import REPOSITORY
from tests.support.terraform_state import Deployment

CODE = REPOSITORY / "infra" / "terraform" / "analytics" / "remove_learner.js"
TRANSFORM = "removeLearner"
SOURCES = ("learning-events", "algorithm-events", "vocabulary-events", "user-events")


def test_topics_are_those_of_the_code(deployment: Deployment) -> None:
    topics = deployment.applied.of("google_pubsub_topic", "topic")
    assert topics.keys() == {*SOURCES, events.LEARNER, wakeups.TOPIC, outgoing.TOPIC}


def test_user_events_are_not_written_to_bigquery(deployment: Deployment) -> None:
    """User events contain e-mail addresses."""
    subscriptions = deployment.applied.of("google_pubsub_subscription").values()
    written = {each["name"]: each for each in subscriptions if each["bigquery_config"]}
    topics = {topic for topic in SOURCES if topic != "user-events"}
    assert written.keys() == {f"progress-analytics-sub-{topic}" for topic in topics}
    for name, subscription in written.items():
        assert subscription["topic"].endswith("/" + name.removeprefix("progress-analytics-sub-"))
        assert not subscription["topic"].endswith("/user-events")


def test_published_messages_in_bigquery_have_no_user_ids(deployment: Deployment) -> None:
    written = deployment.applied.of("google_pubsub_subscription", "analytics")
    for subscription in written.values():
        transform = only(only(subscription["message_transforms"])["javascript_udf"])
        assert transform["function_name"] == TRANSFORM
        assert transform["code"] == CODE.read_text(encoding="utf-8")
    view = deployment.applied.of("google_bigquery_table", "events")["events"]
    assert "user_id" not in only(view["view"])["query"]
