"""No event is lost or counted twice if processes of a local stack are killed or suspended."""

import contextlib
import itertools
import os
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from progress.adapters.postgres import database
from progress.serve import data_folder, processes, readiness
from tests.support import local_stack, sample_events
from tests.support.local_stack import Message, Stack
from tests.support.pushes import encode_push

USERS = [f"u{n}" for n in range(6)]

COMPLETED = "{ userProgress { totalSessionsCompleted } }"

_numbers = itertools.count()


@pytest.fixture
def stack(stack: Stack) -> Stack:
    stack.push([sample_events.item_published(f"i{n}") for n in range(4)])
    return stack


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def delivery(chance: random.Random, *, learners: int = 3) -> list[Message]:
    """Return lessons as messages of 1 to 5 shuffled events; three messages occur twice."""
    number = next(_numbers)
    users = chance.sample(USERS, learners)
    events = [event for user in users for event in sample_events.lesson(user, number, items=4)]
    lost = {"session_id": f"lost-{number}", "item_id": "i0", "response_time_ms": 1}
    events.append(sample_events.envelope("CorrectAnswerGiven", lost, at=sample_events.BEGIN))
    chance.shuffle(events)
    messages = []
    for size in itertools.cycle((1, 2, 1, 5)):
        if not events:
            break
        messages.append([events.pop() for _ in range(min(size, len(events)))])
    return [*messages, *chance.sample(messages, 3)]


def wake(shard: int) -> bytes:
    return encode_push({"command": "wake", "shard": shard})


def kill_command(stack: Stack, name: str) -> None:
    process = stack.start(name)
    try:
        readiness.wait(
            lambda: process.poll() is not None or bool(stack.count("at work", name="progress-cli")),
            name,
        )
    finally:
        process.kill()
        process.wait()


def kill_backend(stack: Stack) -> None:
    """Kill one backend of PostgreSQL; return once the server has ended all sessions and is back."""
    with contextlib.ExitStack() as closing:
        victim, other = stack.connect(), stack.connect()
        for session in (victim, other):
            closing.callback(database.close, session)
        ((pid,),) = victim.run("SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGKILL)
        readiness.wait(lambda: has_ended(other), "the end of a session")
    readiness.wait(lambda: stack.count("appended") is not None, "postgres", seconds=120)


def has_ended(session: database.Connection) -> bool:
    try:
        session.run("SELECT 1")
    except database.ERRORS:
        return True
    return False


def kill_supervisor(stack: Stack) -> None:
    stack.signal("supervisor", signal.SIGKILL)
    # Until it has ended, `up` finds it running.
    readiness.wait(lambda: not data_folder.is_held(stack.folder), "the end of the supervisor")
    stack.up()


def killer(part: str) -> Callable[[Stack], None]:
    return lambda stack: stack.signal(part, signal.SIGKILL)


def kill_all(stack: Stack) -> None:
    for part in PARTS:
        stack.signal(part, signal.SIGKILL)


PARTS = ("ingest", "project", "query", "valkey", "postgres")
VICTIMS: dict[str, Callable[[Stack], None]] = {part: killer(part) for part in PARTS} | {
    "all parts": kill_all,
    "backend": kill_backend,
    "batch": lambda stack: kill_command(stack, "batch"),
    "rebuild": lambda stack: kill_command(stack, "rebuild"),
}
KILLS = VICTIMS | {"supervisor": kill_supervisor}


def kill_each(stack: Stack, chance: random.Random, *victims: str) -> None:
    sending: list[Future[None]] = []
    with ThreadPoolExecutor(16) as pool:
        for victim in victims:
            before = stack.count("appended") or 0
            messages = delivery(chance, learners=len(USERS))
            sending.append(pool.submit(stack.push, *messages[::2]))
            sending.append(pool.submit(stack.post_events, *messages[1::2]))
            readiness.wait(lambda: (stack.count("appended") or 0) > before, victim, seconds=120)  # noqa: B023
            KILLS[victim](stack)
        for sent in sending:
            sent.result()
    stack.check()


@pytest.mark.first_in_gate
@pytest.mark.parametrize("seed", [7, 8, 9])
def test_no_event_is_lost_or_repeated_if_any_process_is_killed_during_a_delivery(
    stack: Stack, seed: int
) -> None:
    """Each process is killed during a delivery of its own, in an order that the seed draws."""
    chance = random.Random(seed)
    kill_each(stack, chance, *chance.sample(sorted(VICTIMS), len(VICTIMS)))
    log = stack.folder.log("supervisor").read_text(encoding="utf-8")
    ended = [line for line in log.splitlines() if "query ended" in line]
    assert ended
    assert not [line for line in ended if line.startswith("{")]  # each end is said once
    kill_each(stack, chance, "supervisor")
    for user in USERS:
        assert stack.ask(user, COMPLETED)["userProgress"]["totalSessionsCompleted"] > len(VICTIMS)


def test_ingest_responds_with_503_while_postgresql_is_down(
    stack: Stack, pool: ThreadPoolExecutor
) -> None:
    chance = random.Random(8)
    messages = delivery(chance)
    bodies = [encode_push(message) for message in messages]
    stack.push(*delivery(chance))
    with stack.pause_supervisor():
        stack.signal("postgres", signal.SIGKILL)
        processes.kill_sessions(stack.folder.postgres)
        answers = list(pool.map(lambda body: stack.post("ingest", body), bodies))
        assert set(answers) == {503}
    stack.envelopes += [event for message in messages for event in message]
    for body in bodies:
        readiness.wait(lambda: stack.post("ingest", body) == 204, "ingest", seconds=120)  # noqa: B023
    # The project function replaces its broken idle connections.
    assert stack.post("project", wake(0)) == 204
    stack.check()


def test_ingest_does_not_acknowledge_pushes_while_postgresql_is_suspended(
    stack: Stack, pool: ThreadPoolExecutor
) -> None:
    chance = random.Random(9)
    messages = delivery(chance)
    publishing = pool.submit(stack.push, *delivery(chance))
    for _ in range(2):  # also what began meanwhile
        stack.signal("postgres", signal.SIGSTOP)
    try:
        posts = [pool.submit(stack.post, "ingest", encode_push(m), seconds=3) for m in messages[:5]]
        assert {post.result() for post in posts} <= {None, 503}
    finally:
        stack.signal("postgres", signal.SIGCONT)
    publishing.result()
    stack.push(*messages)
    stack.check()


def test_projections_are_not_delayed_by_hanging_transactions_of_other_programs(
    stack: Stack,
) -> None:
    chance = random.Random(11)
    with contextlib.ExitStack() as hanging:
        for block in ("foreign table", "hang writing", "hang reading", "hang backing up"):
            connection = hanging.enter_context(contextlib.closing(stack.connect()))
            for statement in local_stack.statements_of(block):
                connection.run(statement)
        for _ in range(3):
            stack.push(*delivery(chance))
            stack.await_projection()
        stack.check()


@pytest.mark.exhaustive
def test_two_batch_jobs_two_rebuilds_and_duplicate_pushes_can_run_concurrently(
    stack: Stack, pool: ThreadPoolExecutor
) -> None:
    chance = random.Random(12)
    wakes = [wake(n % 16) for n in range(160)]
    jobs = [stack.start_job(), stack.start_job(), stack.start("rebuild"), stack.start("rebuild")]
    while any(process.poll() is None for process in jobs):
        messages = delivery(chance)
        stack.envelopes += [event for message in messages for event in message]
        twice = [body for body in map(encode_push, messages) for _ in range(2)]
        answers = pool.map(lambda body: stack.post("ingest", body), twice)
        woken = pool.map(lambda body: stack.post("project", body), wakes)
        assert set(answers) == {204}
        assert set(woken) == {204}
    *batches, first, second = (process.wait() for process in jobs)
    assert set(batches) == {0}
    assert sorted((first, second)) in ([0, 0], [0, 1])  # a rebuild fails while another rebuild runs
    stack.check()
