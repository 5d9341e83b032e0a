"""Whatever a receiver of WEBHOOK_URL does, it gets each event in order, and holds back no one else.

The receiver is a real HTTP server. The messages of Pub/Sub are in test_publication.py.
"""

import contextlib
import itertools
import json
import queue
import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from progress import settings
from progress.adapters import webhook
from progress.adapters.postgres.database import Connection
from progress.cli import doctor
from progress.errors import DatabaseUnavailable, WebhookUnavailable
from progress.event_store import publication, webhook_posts
from progress.projections import projector
from progress.projections.projector import SHARDS
from progress.serve import ports, readiness
from progress.settings import Settings
from tests.conftest import Store
from tests.support import model_rows, published, sample_events, webhooks
from tests.support.fake_publisher import FakePublisher
from tests.support.published import Publisher
from tests.support.stage import Stage, append
from tests.support.webhooks import Message, Reaction, Receiver

LEARNERS = ("ann", "bob", "una")  # ann and una are in the same shard
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 1_000
REDIRECT = b"HTTP/1.1 307 Moved\r\nLocation: /hook\r\nConnection: close\r\n\r\n"
CUT = b"HTTP/1.1 20"
STATUSES = (100, 301, 400, 410, 429, 500)
FAULTS: tuple[Reaction, ...] = (*STATUSES, "cut", "silent", "drip", CUT, REDIRECT)
ACCEPTED: tuple[Reaction, ...] = (200, 204, 299, ENDLESS, "kill")


def post_to(receiver: Receiver, setting: Any = "all") -> Settings:
    return Settings(
        webhook_url=receiver.url, webhook_secret=receiver.secret, publish_events=setting
    )


@pytest.fixture
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webhook, "TIMEOUT_S", 1.0)
        patch.setattr(webhook_posts, "_FIRST_PAUSE_S", 0.02)
        patch.setattr(webhook_posts, "_LAST_PAUSE_S", 0.1)
        yield


STEPS = st.one_of(
    st.tuples(st.just("append"), st.sampled_from(LEARNERS), st.integers(1, 4)),
    st.tuples(st.just("delete"), st.sampled_from(LEARNERS), st.just(1)),
    st.tuples(st.just("publish"), st.just(""), st.just(1)),
)


@given(
    steps=st.lists(STEPS, min_size=2, max_size=8),
    setting=st.sampled_from(["milestones", "all", "all"]),
    reactions=st.lists(st.sampled_from(FAULTS + ACCEPTED), max_size=12),
    at_most=st.sampled_from([1, 3, 100]),
)
@example(
    steps=[("append", "ann", 1), ("append", "ann", 2), ("append", "ann", 3)],
    setting="all",
    reactions=[*FAULTS, *ACCEPTED],
    at_most=100,
)
@pytest.mark.usefixtures("quick")
def test_whatever_the_receiver_does_it_gets_each_event_in_order(
    stage: Stage,
    store: Store,
    fake_publisher: FakePublisher,
    *,
    steps: Any,
    setting: Any,
    reactions: list[Reaction],
    at_most: int,
) -> None:
    stage.sweep()
    with (
        webhooks.receive() as receiver,
        contextlib.closing(Publisher(store, fake_publisher, setting)) as publisher,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(webhook_posts, "_AT_MOST", at_most)
        publisher.settings = post_to(receiver, setting)
        left = iter(reactions)

        def react(_: Message) -> Reaction:
            if (reaction := next(left, 204)) != "kill":
                return reaction
            publisher.kill()
            return 204

        receiver.react = react
        for step, learner, number in [*steps, ("publish", "", 1)]:
            if step == "append":
                append(stage.admin, sample_events.lesson(learner, number))
            elif step == "delete":
                append(stage.admin, [sample_events.user_deleted(learner)])
            else:
                publish_all(publisher)
        assert publisher.run() == 0
        published.check(stage.admin, receiver.pubsub(), setting)
        # Each fault, and each kill, repeats one message.
        assert len(receiver.attempts) <= len(receiver.ids) + len(reactions)


def publish_all(publisher: Publisher) -> None:
    while True:
        try:
            publisher.run()
            return
        except DatabaseUnavailable:
            publisher.restart()
        except WebhookUnavailable as error:
            if not re.fullmatch(r"127.0.0.1: [^/]+", f"{error}"):
                raise


def test_the_message_is_that_of_the_topic_and_both_secrets_sign_it(
    connection: Connection, store: Store, receiver: Receiver, fake_publisher: FakePublisher
) -> None:
    former, receiver.secret = receiver.secret, webhooks.make_secret()
    secrets = {"webhook_secret": f"{receiver.secret} {former}"}
    both = msgspec.structs.replace(post_to(receiver), **secrets)
    data = {"user_id": "ann", "t": "ü\u2028", "n": 1e-7}
    append(connection, [sample_events.envelope("Noted", data, at=sample_events.BEGIN)])
    assert sum(publication.publish(connection, shard, both) for shard in SHARDS) == 1
    connection.run("DELETE FROM event_store.publisher_checkpoints")
    with contextlib.closing(Publisher(store, fake_publisher, "all")) as publisher:
        publisher.run()
    (message,), (told,) = receiver.accepted, fake_publisher.messages("progress-events")
    (posted,) = receiver.pubsub()
    assert (posted.attributes, posted.ordering_key) == (told.attributes, told.ordering_key)
    assert json.loads(posted.data) == json.loads(told.data)
    for secret in (receiver.secret, former):
        assert Webhook(secret).verify(message.body, message.headers) == message.event


@pytest.fixture
def own(store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a project function on one machine, whose thread posts."""
    changed = {"DATABASE_URL": store.url, "PUBLISH_EVENTS": "all", "SERVE_KEY": "key"}
    for name, value in (changed | receiver.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(projector, "_idle", queue.LifoQueue())
    return settings.current()


@pytest.mark.usefixtures("quick", "own")
def test_a_message_that_is_refused_holds_back_its_shard_alone_and_no_wake_up(
    connection: Connection, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.react = lambda message: 500 if message.event["subject"] == "learner-ann" else 204
    for learner in LEARNERS:
        append(connection, sample_events.lesson(learner, 1))
    assert sum(map(projector.wake, SHARDS)) == len(published.read_log(connection))
    lesson = len(sample_events.lesson("bob", 1))
    receiver.wait(lambda: len(receiver.accepted) == lesson and len(receiver.attempts) > lesson + 9)
    assert {message.event["subject"] for message in receiver.accepted} == {"learner-bob"}
    refused = [m for m in receiver.attempts if m.event["subject"] != "learner-bob"]
    assert len({message.id for message in refused}) == 1
    assert len({m.headers["webhook-signature"] for m in receiver.attempts}) > lesson  # made anew
    receiver.react = lambda _: 204
    receiver.wait(lambda: len(receiver.ids) == 3 * lesson)
    published.check(connection, receiver.pubsub(), "all")
    assert "leave later: 127.0.0.1: status 500" in (printed := capsys.readouterr().out)
    assert not any(part in printed for part in ("/hook", receiver.url, receiver.secret))


def test_the_pauses_double_up_to_the_longest_and_begin_anew_after_an_answer(
    connection: Connection, own: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_posts, "_FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(webhook_posts, "_LAST_PAUSE_S", 0.2)
    append(connection, sample_events.lesson("ann", 1)[:2])
    times: list[float] = []
    reactions = iter([500, 500, 500, 500, 204, 500, 204])

    def react(_: Message) -> Reaction:
        times.append(time.monotonic())
        return next(reactions)

    receiver.react = react
    webhook_posts.wake(model_rows.read_value(connection, "shard", user="ann"), own)
    receiver.wait(lambda: len(receiver.accepted) == 2)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    least = (0.05, 0.1, 0.2, 0.2, 0, 0.05)
    assert all(gap >= pause for gap, pause in zip(gaps, least, strict=True)), gaps


@pytest.mark.usefixtures("quick")
def test_a_receiver_and_a_database_that_were_away_get_everything(
    store: Store, connection: Connection, own: Settings
) -> None:
    port = ports.reserve()
    away = msgspec.structs.replace(own, webhook_url=f"http://localhost:{port}/")
    for learner in LEARNERS:
        append(connection, sample_events.lesson(learner, 1))
    for shard in SHARDS:
        webhook_posts.wake(shard, away)
    failed = "SELECT count(*) > 1 FROM event_store.publisher_checkpoints WHERE answer IS NOT NULL"
    readiness.wait(lambda: connection.run(failed)[0][0], "the failures")
    with webhooks.receive(port) as receiver:
        receiver.secret = away.webhook_secret or ""
        receiver.wait(lambda: receiver.attempts)
        connection.run(model_rows.BLOCKS["end sessions"], application="webhook")
        receiver.wait(lambda: len(receiver.ids) == len(published.read_log(connection)))
        published.check(connection, receiver.pubsub(), "all")


def test_the_doctor_names_a_publication_that_waits_with_the_last_answer(
    store: Store, connection: Connection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", store.url)
    assert doctor.PARTS["events out"]() == ("nothing waits", [])
    append(connection, [sample_events.user_deleted("ann")])
    receiver.react = lambda _: 503
    shard = model_rows.read_value(connection, "shard", user="ann")
    with pytest.raises(WebhookUnavailable):
        publication.publish(connection, shard, post_to(receiver))
    assert doctor.PARTS["events out"]()[1] == []  # not for ten minutes yet
    monkeypatch.setattr(doctor, "_OUT_S", 0)
    _, (finding,) = doctor.PARTS["events out"]()
    assert re.match(r"1 events .* for 0 minutes; .*: 127.0.0.1: status 503$", finding.found)
    receiver.react = lambda _: 204
    publication.publish(connection, shard, post_to(receiver))
    assert doctor.PARTS["events out"]() == ("nothing waits", [])
