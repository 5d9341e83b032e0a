"""Of many who ask the same at once, one computes; nobody waits in vain, or for what is too old."""

import asyncio
from collections.abc import Iterator

import pytest

from progress.adapters.postgres.database import Connection
from progress.errors import Unavailable
from progress.projections.projector import Projector
from progress.query.cache.cache import Computed, Question
from tests.conftest import Store
from tests.support import cache_instances, sample_events
from tests.support.cache_instances import NOW, Instance
from tests.support.stage import append, publisher


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    with cache_instances.populate(store, "ann") as made:
        yield made


@pytest.fixture
def one(store: Store, connection: Connection, redis_with_notifications: str) -> Iterator[Instance]:
    with cache_instances.instances(store, redis_with_notifications, 1) as (made,):
        yield made


def questions() -> list[Question]:
    return [
        each for each in cache_instances.questions("ann") if each.name in ("dailyStats", "streak")
    ]


@pytest.mark.parametrize("question", questions(), ids=lambda question: question.name)
def test_a_hundred_at_once_are_answered_by_one_statement(one: Instance, question: Question) -> None:
    async def hundred() -> list[list[bytes]]:
        return await asyncio.gather(*(one.asked(question) for _ in range(100)))

    answers = one.run(hundred())
    assert all(each == answers[0] for each in answers)
    assert one.computed == 1
    assert len(one.reader.asked) == len(set(one.reader.asked)) == 3  # with its versions


def test_without_redis_too(store: Store, connection: Connection) -> None:
    (question, *_) = questions()
    with cache_instances.instances(store, None, 1) as (one,):

        async def hundred() -> None:
            await asyncio.gather(*(one.asked(question) for _ in range(100)))

        one.run(hundred())
        assert one.computed == len(one.reader.asked) == 1


class Slow:
    """An answer that is computed for as long as the test likes."""

    def __init__(self, one: Instance, question: Question, fault: Exception | None = None) -> None:
        self._one, self._question, self._fault = one, question, fault
        self.running, self.end = asyncio.Event(), asyncio.Event()

    async def compute(self) -> Computed:
        self._one.computed += 1
        data = await cache_instances.answer(self._question, NOW)
        self.running.set()
        await self.end.wait()
        if self._fault:
            raise self._fault
        return Computed(data)

    async def asked(self) -> bytes:
        cache = self._one.cache
        looked = await cache.ask("caller", [self._question], at=NOW)
        return looked.found[0] or await cache.answer(looked, self._question, self.compute)


def test_who_knows_of_a_newer_version_does_not_take_the_older_answer(
    one: Instance, connection: Connection
) -> None:
    (question, *_) = questions()

    async def overtaking() -> None:
        slow, quick = Slow(one, question), Slow(one, question)
        quick.end.set()
        first = asyncio.create_task(slow.asked())
        await slow.running.wait()
        append(connection, sample_events.lesson("ann", 4))
        Projector(connection, publisher=publisher()).catch_up_all()
        looks = [await one.cache.ask("caller", [question], at=NOW) for _ in range(10)]
        later = [
            asyncio.create_task(one.cache.answer(each, question, quick.compute)) for each in looks
        ]
        await asyncio.sleep(0)  # now all of them wait for the first one's answer
        slow.end.set()
        wanted = await cache_instances.answer(question, NOW)
        assert await first != wanted
        assert await asyncio.gather(*later) == [wanted] * 10
        assert one.computed == 2
        assert await one.asked(question) == [wanted]

    one.run(overtaking())


def test_who_gives_up_takes_nobody_along(one: Instance) -> None:
    (question, *_) = questions()

    async def giving_up() -> None:
        slow = Slow(one, question)
        first, *others = [asyncio.create_task(slow.asked()) for _ in range(10)]
        await slow.running.wait()
        first.cancel()
        others.pop().cancel()
        slow.end.set()
        answers = await asyncio.gather(*others)
        assert set(answers) == {await cache_instances.answer(question, NOW)}
        assert one.computed == 2  # by one of the others, once for all of them
        assert await one.asked(question) == [answers[0]]
        assert one.computed == 2

    one.run(giving_up())


def test_when_all_give_up_the_next_caller_computes(one: Instance) -> None:
    (question, *_) = questions()

    async def giving_up() -> None:
        slow = Slow(one, question)
        asking = [asyncio.create_task(slow.asked()) for _ in range(3)]
        await slow.running.wait()
        for each in asking:
            each.cancel()
        await asyncio.wait(asking)
        assert all(each.cancelled() for each in asking)
        assert await one.asked(question) == [await cache_instances.answer(question, NOW)]
        assert one.computed == 2

    one.run(giving_up())


def test_what_fails_fails_those_who_waited_and_is_not_kept(one: Instance) -> None:
    (question, *_) = questions()

    async def failing() -> None:
        slow = Slow(one, question, Unavailable("gone"))
        waiting = [asyncio.create_task(slow.asked()) for _ in range(5)]
        await slow.running.wait()
        slow.end.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in answers] == [Unavailable] * 5
        assert one.computed == 1
        assert await one.asked(question) == [await cache_instances.answer(question, NOW)]

    one.run(failing())


def test_who_wants_no_cache_waits_for_nobody(one: Instance) -> None:
    (question, *_) = questions()

    async def fresh() -> None:
        slow = Slow(one, question)
        first = asyncio.create_task(slow.asked())
        await slow.running.wait()
        assert await one.asked(question, fresh=True) == [
            await cache_instances.answer(question, NOW)
        ]
        assert not first.done()
        slow.end.set()
        await first

    one.run(fresh())
