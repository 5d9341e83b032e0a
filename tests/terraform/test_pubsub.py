"""The planned topics and subscriptions, with dead letters and BigQuery."""

import json

import pytest

from progress.adapters.pubsub import wakeups
from progress.event_store import events, outgoing
from progress.ingest import push
from tests.support.cloud_run import only, plain_settings
from tests.support.terraform import REPOSITORY, need_offline
from tests.support.terraform_environments import FOREIGN, FOREIGN_TOPIC, POSTER, Environments
from tests.support.terraform_state import Deployment, Resources, Values

CODE = REPOSITORY / "infra" / "terraform" / "analytics" / "remove_learner.js"
TRANSFORM = "removeLearner"
SOURCES = ("learning-events", "algorithm-events", "vocabulary-events", "user-events")
PROJECTION = "progress-projection-sub"


def subscriptions(resources: Resources) -> dict[str, Values]:
    return {
        subscription["name"]: subscription
        for subscription in resources.of("google_pubsub_subscription").values()
    }


def test_topics_match_the_local_stack_and_stay_in_the_region(deployment: Deployment) -> None:
    topics = deployment.applied.of("google_pubsub_topic", "topic")
    assert topics.keys() == {*SOURCES, events.LEARNER, wakeups.TOPIC, outgoing.TOPIC}
    for topic in deployment.applied.of("google_pubsub_topic").values():  # also of dead letters
        assert only(topic["message_storage_policy"])["allowed_persistence_regions"] == [
            "europe-west1"
        ]


def _publishers(deployment: Deployment) -> dict[str, set[str]]:
    publishers: dict[str, set[str]] = {}
    for grant in deployment.applied.of("google_pubsub_topic_iam_member").values():
        if grant["role"] == "roles/pubsub.publisher":
            publishers.setdefault(grant["topic"], set()).add(grant["member"])
    return publishers


def test_learners_post_only_where_the_tfvars_say_so(deployment: Deployment) -> None:
    settings = plain_settings(deployment.applied, "query")
    assert settings["LEARNERS_MAY_POST"] == "false"
    assert settings["LEARNER_ENTRIES_PER_DAY"] == "1000000"


@pytest.mark.exhaustive
def test_an_endpoint_gets_pushes_with_a_token_for_its_address(environments: Environments) -> None:
    endpoint = "https://rewards.example.com/milestones"
    options = (
        f'-var=event_subscriptions={{"rewards-sub"={{endpoint="{endpoint}"}}}}',
        '-var=event_subscribers=["serviceAccount:other@example.iam.gserviceaccount.com"]',
        "-var=publish_events=all",
    )
    deployment = environments.variant("subscribed", "dev", *options)
    assert deployment.second_plan == ""
    rewards = deployment.applied.of("google_pubsub_subscription", "events")["rewards-sub"]
    pushed = only(rewards["push_config"])
    assert pushed["push_endpoint"] == endpoint
    token = only(pushed["oidc_token"])
    assert token["audience"] == endpoint
    assert token["service_account_email"].startswith("progress-push@")
    assert only(rewards["dead_letter_policy"])["dead_letter_topic"].endswith(
        "/rewards-sub-dead-letter"
    )
    assert plain_settings(deployment.applied, "project")["PUBLISH_EVENTS"] == "all"


@pytest.mark.exhaustive
def test_a_foreign_topic_has_a_subscription_but_is_not_managed_by_terraform(
    environments: Environments,
) -> None:
    deployment = environments.variant("foreign", "dev", *FOREIGN)
    assert deployment.second_plan == ""
    posters = deployment.applied.of("google_cloud_run_v2_service_iam_member", "poster")
    assert [(grant["name"], grant["role"], grant["member"]) for grant in posters.values()] == [
        ("progress-ingest", "roles/run.invoker", POSTER)
    ]
    assert "user-events" not in deployment.applied.of("google_pubsub_topic", "topic")
    grants = _publishers(deployment)
    assert grants["learning-events"] == {"group:learning@example.com"}
    assert not {*SOURCES[1:], FOREIGN_TOPIC} & grants.keys()
    by_name = subscriptions(deployment.applied)
    assert by_name["user-events-ingest-sub"]["topic"] == FOREIGN_TOPIC
    assert plain_settings(deployment.applied, "query")["USER_EVENTS_TOPIC"] == FOREIGN_TOPIC
    # `infra/recovery/replay` needs acknowledged messages. The foreign topic might not retain them,
    # so its subscription does.
    kept = {name for name, subscription in by_name.items() if subscription["retain_acked_messages"]}
    assert kept == {"user-events-ingest-sub"}


def test_source_topics_are_pushed_to_ingest_and_commands_to_the_project_function(
    deployment: Deployment,
) -> None:
    services = deployment.applied.of("google_cloud_run_v2_service", "function")
    pushed = deployment.applied.of("google_pubsub_subscription", "push")
    wanted = {f"{topic}-ingest-sub": (topic, "ingest") for topic in (*SOURCES, events.LEARNER)}
    wanted[PROJECTION] = (wakeups.TOPIC, "project")
    assert pushed.keys() == wanted.keys()
    for name, (topic, function) in wanted.items():
        target = only(pushed[name]["push_config"])
        assert pushed[name]["topic"].endswith(f"/{topic}")
        path = push.LEARNERS_PATH if topic == events.LEARNER else ""
        assert target["push_endpoint"] == services[function]["uri"] + path
        assert only(target["oidc_token"])["audience"] == services[function]["uri"]
        account = only(target["oidc_token"])["service_account_email"]
        assert account.startswith("progress-push@")
        if function == "ingest":
            assert plain_settings(deployment.applied, "ingest")["PUSH_ACCOUNT"] == account


def test_the_acknowledgement_deadline_equals_the_timeout_of_the_function(
    deployment: Deployment,
) -> None:
    services = deployment.applied.of("google_cloud_run_v2_service", "function")
    for name, subscription in deployment.applied.of("google_pubsub_subscription", "push").items():
        function = "project" if name == PROJECTION else "ingest"
        timeout = int(only(services[function]["template"])["timeout"].removesuffix("s"))
        # 600 s is Pub/Sub's maximum.
        assert subscription["ack_deadline_seconds"] == min(timeout, 600)


def test_undelivered_messages_are_retried_and_become_dead_letters(deployment: Deployment) -> None:
    by_name = subscriptions(deployment.applied)
    dead_letters = deployment.applied.of("google_pubsub_topic", "dead_letter")
    held = deployment.applied.of("google_pubsub_subscription", "dead_letter")
    outward = deployment.applied.of("google_pubsub_subscription", "events")
    sent = {
        name: each
        for name, each in by_name.items()
        if each["push_config"] or each["bigquery_config"] or name in outward
    }
    assert dead_letters.keys() == held.keys() == sent.keys()
    for name, subscription in sent.items():
        retry = only(subscription["retry_policy"])
        assert (retry["minimum_backoff"], retry["maximum_backoff"]) == ("10s", "600s")
        aside = only(subscription["dead_letter_policy"])
        assert aside["dead_letter_topic"].endswith(f"/{name}-dead-letter")
        # 100 is Pub/Sub's maximum. With fewer attempts, messages could become dead letters during
        # an outage.
        assert aside["max_delivery_attempts"] == 100
        assert dead_letters[name]["name"] == f"{name}-dead-letter"
        assert held[name]["name"] == f"{name}-dead-letter-sub"
        assert held[name]["topic"].endswith(f"/{name}-dead-letter")
        assert not held[name]["push_config"]
        assert held[name]["message_retention_duration"] == "2678400s"


@pytest.mark.exhaustive
def test_a_replaced_subscription_gets_its_roles_again(environments: Environments) -> None:
    """A subscription is replaced if its topic moves to another project."""
    need_offline()
    root = environments.root()
    state = json.dumps(environments["dev"].state)
    (root.folder / "moved-topic.tfstate").write_text(state)
    key = '["user-events-ingest-sub"]'
    plan = root.run(
        *("plan", "-refresh=false", "-var-file=environments/dev.tfvars"),
        f"-replace=google_pubsub_subscription.push{key}",
        state="moved-topic",
    )
    assert f"# google_pubsub_subscription_iam_member.dead_letter{key} " in plan


def test_no_subscription_expires(deployment: Deployment) -> None:
    there = subscriptions(deployment.applied)
    assert all(
        only(subscription["expiration_policy"])["ttl"] == "" for subscription in there.values()
    )


def test_user_events_are_not_written_to_bigquery(deployment: Deployment) -> None:
    """User events contain e-mail addresses."""
    written = {n: e for n, e in subscriptions(deployment.applied).items() if e["bigquery_config"]}
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


def test_the_batch_job_has_a_subscription_if_batch_on_demand_is_set(
    deployments: dict[str, Deployment],
) -> None:
    for name, deployment in deployments.items():
        subscription = subscriptions(deployment.applied).get("progress-batch-sub")
        assert (subscription is not None) == (name == "dev")
        settings = plain_settings(deployment.applied, "batch")
        assert ("CHANGES_SUBSCRIPTION" in settings) == (name == "dev")
        if subscription is not None:
            assert subscription["topic"].endswith(f"/{wakeups.TOPIC}")
            assert not subscription["push_config"]
            jobs = deployment.applied.of("google_cloud_run_v2_job", "job")
            longest = only(only(jobs["batch"]["template"])["template"])["timeout"]
            assert subscription["ack_deadline_seconds"] >= int(longest.removesuffix("s"))
