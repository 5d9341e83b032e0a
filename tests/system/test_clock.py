"""Clock steps: no event is lost, repeated or moved while the clock of every process is set."""

import contextlib
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from progress.projections.projector import Projector
from progress.serve import readiness
from tests.conftest import Store, skip_without
from tests.support import (
    folders,
    http_client,
    local_stack,
    recent_events,
    sample_events,
    stage,
    subscription_client,
    token_issuer,
)
from tests.support.local_stack import BLOCKS, Stack
from tests.support.postgres_servers import url_of

# libfaketime 0.9.10 is not used: Python's time.sleep fails if it leaves the monotonic clock alone.
SOURCE = Path(local_stack.__file__).with_name("shifted_clock.c")
USERS = [f"u{n}" for n in range(6)]
STEPS = [timedelta(seconds=s) for s in (-3_600, 7_200, -10, 86_400, -86_400, 0.2, 0)]
ANSWERS = "{ userProgress { totalSessionsCompleted } }"


@pytest.fixture
def folder() -> Iterator[Path]:
    with folders.create("clock") as made:
        made.chmod(0o755)
        yield made


@pytest.fixture
def set_clock(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[timedelta], None]:
    """A function that sets the clocks of the processes that started after this fixture.

    It takes the distance to the true time. The monotonic clock stays true, as on a real machine.
    """
    if not (compiler := shutil.which("gcc")):
        skip_without(request, "gcc")
    library, file = folder / "shifted_clock.so", folder / "shift"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    file.write_bytes(bytes(8))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_SHIFT", str(file))

    def step(distance: timedelta) -> None:
        with file.open("r+b") as output:  # the processes have mapped this file
            output.write(struct.pack("=q", distance // timedelta(microseconds=1) * 1000))

    return step


@pytest.fixture
def stack(set_clock: Callable[[timedelta], None]) -> Iterator[Stack]:
    with local_stack.run() as made:
        made.push([sample_events.item_published(f"i{n}") for n in range(4)])
        yield made


@pytest.mark.exhaustive
def test_clock_steps_change_neither_the_events_nor_their_order(
    stack: Stack, set_clock: Callable[[timedelta], None]
) -> None:
    chance = random.Random(11)
    for part in ("postgres", "valkey", "ingest", "project", "query"):
        for pid in stack.pids(part):
            assert "shifted_clock.so" in Path(f"/proc/{pid}/maps").read_text()
    for number, distance in enumerate(STEPS * 2):
        set_clock(distance)
        with contextlib.closing(stack.connect()) as connection:
            (now,) = connection.run(BLOCKS["clock"])[0]
        expected = datetime.now(UTC) + distance
        assert abs(now - expected) < timedelta(seconds=30)  # the step reached PostgreSQL
        events = [e for user in USERS for e in sample_events.lesson(user, number, items=4)]
        chance.shuffle(events)
        # While the clock is late, this event lies in the future: it waits as a dead letter.
        events.append(sample_events.envelope("BadgeAwarded", {}, at=datetime.now(UTC)))
        stack.push(*([event] for event in events), events[:9])
        if number % 3 == 0:
            assert stack.run("batch").returncode == 0
    with contextlib.closing(stack.connect()) as connection:
        late = [distance for distance in STEPS * 2 if distance < timedelta(minutes=-10)]
        letters = [kind for kind, *_ in connection.run(BLOCKS["letters"])]
        assert set(letters) == {"future"}
        assert len(letters) >= len(late)  # events of the step before may arrive late
    assert stack.run("batch").returncode == 0  # records them
    stack.check()
    with contextlib.closing(stack.connect()) as connection:
        assert connection.run(BLOCKS["falls"]) == [[0]]
    readiness.wait(lambda: stack.ask(USERS[0], ANSWERS)["userProgress"], "an answer")
    completed = stack.ask(USERS[0], ANSWERS)["userProgress"]["totalSessionsCompleted"]
    assert completed == 2 * len(STEPS)


@pytest.mark.exhaustive
def test_answers_are_of_the_present_within_five_seconds_after_a_clock_that_was_ahead(
    store: Store,
    patient_redis: str,
    set_clock: Callable[[timedelta], None],
    subscribe: subscription_client.Subscribe,
) -> None:
    token = token_issuer.token(exp=int(time.time()) + 3 * 86_400)
    headers = http_client.headers(token)
    with contextlib.closing(stage.connect(store.url)) as connection:
        stage.append(connection, recent_events.study("ann", 0, answers=1))
        Projector(connection).catch_up_all()
    with subscription_client.query_function(
        url_of(store.url, "query"), REDIS_URL=patient_redis
    ) as function:

        def is_active() -> bool:
            found = http_client.ask(function.port, headers, "{ streak { activeToday } }")
            return bool(found["streak"]["activeToday"])

        set_clock(timedelta(hours=26))
        assert not is_active()
        query = "subscription { streakUpdated { activeToday } }"
        stream = subscribe(function.port, query, headers=headers)
        assert stream.next_value() == {"activeToday": False}
        assert not is_active()
        set_clock(timedelta())
        began = time.monotonic()
        assert is_active(), "not the cached answer of tomorrow"
        assert stream.next_value() == {"activeToday": True}
        assert time.monotonic() - began < 5
