"""The oracle's numbers about memory agree with examples, properties, a library and a real log."""

import csv
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import fsrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.importers import sm2
from tests import oracle
from tests.oracle import analyses, memory
from tests.oracle.analyses import ItemTest
from tests.oracle.days import zone
from tests.oracle.memory import DAY, Answer, Memory, RecallTest, State

BEGIN = date(2024, 1, 1)  # a Monday
NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
ANKI = Path(__file__).resolve().parents[2] / "data" / "anki_reviews.csv"


def on_days(*answers: tuple[int, bool]) -> list[Answer]:
    return [Answer(BEGIN + days * DAY, is_correct) for days, is_correct in answers]


def states(answers: list[Answer]) -> list[State]:
    """Return the state after each answer."""
    found: list[State] = []
    for n, one in enumerate(answers):
        grade = 3 if one.is_correct else 1
        gap = max((one.day - answers[n - 1].day).days, 0)
        found.append(memory.next_state(found[-1], grade, gap) if n else memory.first_state(grade))
    assert found[-1:] == [known.state for known in [memory.remember(answers)] if known]
    return found


def test_the_example_of_the_specification() -> None:
    assert states(on_days((0, True), (3, False), (3, True), (10, True))) == [
        (8357312, 21181040),
        (-4512200, 73945028),
        (-3720537, 73823367),
        (17037186, 73701827),
    ]


@pytest.mark.parametrize(
    ("gap", "is_correct", "days", "difficulty"),
    [
        # The expected states are those of py-fsrs.
        (0, True, 2.3065, 2.1112142),
        (0, False, 0.7750840, 7.3945027),
        (2, True, 10.9643323, 2.1112142),
        (2, False, 0.6075801, 7.3945027),
        # A negative gap counts as 0.
        (-1, True, 2.3065, 2.1112142),
        (-1, False, 0.7750840, 7.3945027),
    ],
)
def test_the_gap_decides_the_case(
    *, gap: int, is_correct: bool, days: float, difficulty: float
) -> None:
    state = states(on_days((9, True), (9 + gap, is_correct)))[-1]
    assert (state.days, state.difficulty / 10**7) == pytest.approx((days, difficulty), rel=2e-7)


def test_the_state_has_limits() -> None:
    always = states(on_days(*((n * n * 10, True) for n in range(80))))
    assert always[-1].stability == math.floor(10**7 * math.log(36_500) + 0.5)
    never = states(on_days(*((0, False) for _ in range(80))))
    assert never[-1].stability == math.floor(10**7 * math.log(0.001) + 0.5)
    assert max(state.difficulty for state in never) <= 10**8
    assert states(on_days(*((n, True) for n in range(400))))[-1].difficulty == 10**7


def test_on_its_day_a_correct_answer_is_known_and_a_wrong_one_is_as_a_day_later() -> None:
    for is_correct, today in ((True, 1.0), (False, 0.7662)):
        known = memory.remember(on_days((5, is_correct)))
        assert known
        estimates = [memory.estimate(known, BEGIN + n * DAY) for n in (0, 5, 6)]
        assert estimates[:2] == pytest.approx([today, today], abs=5e-5)
        assert estimates[2] == pytest.approx(memory.recall_after(1, known.state.days))
    assert memory.recall_after(1, 1.0) == pytest.approx(0.9)


def test_rounding_is_half_away_from_zero_of_the_exact_value() -> None:
    assert memory.rounded(0.0625, 3) == 0.063
    assert memory.rounded(0.25, 1) == 0.3
    assert memory.rounded(1.0005, 3) == 1.0  # the double is a little less
    assert memory.rounded(0.0005, 3) == 0.001  # the double is a little more
    assert memory.rounded(23_450.0, -2) == 23_500
    assert memory.millionths(0.0000005) == 0
    assert memory.add([1e16, 1.0, 1.0]) == 1e16


_ids = iter(range(1, 10**9))


def event(kind: str, at: datetime, user: str | None = "ann", **data: Any) -> oracle.Event:
    return oracle.Event(UUID(int=next(_ids)), kind, data, at, at, user)


def answer(day: float, item: str = "i", *, right: bool = True, user: str = "ann") -> oracle.Event:
    """Return an answer, `day` days after the beginning of 2024."""
    kind = "CorrectAnswerGiven" if right else "IncorrectAnswerGiven"
    at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)
    return event(kind, at, user, session_id="s", item_id=item, response_time_ms=1)


def join(user: str, group: str = "g") -> oracle.Event:
    return event("LearnerJoinedGroup", NOW, user, group_id=group)


def described(item: str, level: str | None, kind: str = "ItemPublished") -> oracle.Event:
    return event(kind, NOW, None, item_id=item, domains=[], cefr_level=level)


def fly(day: float, timezone: str) -> oracle.Event:
    at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)
    return event("UserPreferencesChanged", at, timezone=timezone)


def see(*events: oracle.Event, day: float = 10) -> oracle.World:
    """Return the events as a query `day` days after the beginning of 2024 sees them."""
    return oracle.see(events, datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day))


LOG = [
    *(answer(0, "a"), answer(3, "a", right=False), answer(3.1, "a"), answer(9, "a")),
    *(answer(0, "B", right=False), answer(1, "c"), answer(1, "d"), answer(0, "d", right=False)),
    event("ReviewProcessed", NOW - timedelta(days=150), item_id="r", new_interval=1),
]


def test_the_fields_of_an_item() -> None:
    world = see(*LOG[:3], day=9)
    recall = 1 / (1 + memory.FACTOR * 6 / math.exp(-0.3720537)) ** 0.1542
    assert oracle.item_memory(world, "ann", "a") == {
        "estimated_recall": round(recall, 3),
        "memory": {
            "stability_days": 0.689,
            "difficulty": 7.38,
            "answered_on": date(2024, 1, 4),
        },
    }
    assert oracle.item_states(world, "ann")["a"]["stability"] == -3720537
    assert oracle.item_memory(world, "ann", "r") == {"estimated_recall": None, "memory": None}


def test_fading_items_were_answered_correctly_and_are_in_the_catalogue() -> None:
    events = [e for e in LOG if e.type != "ReviewProcessed"]
    assert oracle.fading(see(*events, day=20), "ann") == {"d"}
    assert oracle.fading(see(*events, day=2000), "ann") == {"a", "c", "d"}
    archive = described("d", None, "ItemArchived")
    assert oracle.fading(see(*events, archive, day=2000), "ann") == {"a", "c"}
    assert oracle.fading(see(*events), "ann", date(2029, 1, 1)) == {"a", "c", "d"}


def test_the_order_by_recall_puts_items_without_an_answer_last() -> None:
    events = [*LOG, answer(9, "A")]
    events[-2] = event(
        "ReviewProcessed", events[0].occurred_at, item_id="0", new_interval=1, easiness_factor=2
    )
    assert oracle.by_recall(see(*events), "ann") == ["B", "d", "c", "A", "a", "0"]
    assert oracle.by_recall(see(*events[1:6], answer(9, "A"), day=9), "ann")[-2:] == ["A", "a"]


def test_knowledge_by_level_counts_archived_items() -> None:
    items = [described("a", "B1"), described("c", "A2"), described("d", "B1")]
    world = see(*LOG, *items, described("c", None, "ItemArchived"), day=2000)
    row = oracle.knowledge(world, "ann")
    assert [(one["level"], one["items"], one["fading"]) for one in row["levels"]] == [
        ("A2", 1, 0),
        ("B1", 2, 2),
        ("UNKNOWN", 1, 0),
    ]
    assert (row["on"], row["items"], row["fading"]) == (date(2029, 6, 23), 4, 2)
    assert oracle.knowledge(see(day=3), "eve") == {
        "on": date(2024, 1, 4),
        "items": 0,
        "expected": 0.0,
        "fading": 0,
        "levels": [],
    }


def test_a_deleted_learner_knows_nothing_on_the_day_in_utc() -> None:
    deletion = event("UserDeleted", NOW)
    world = see(*LOG, fly(0, "Pacific/Kiritimati"), deletion, day=3.9)
    assert oracle.knowledge(world, "ann")["on"] == date(2024, 1, 4)
    assert oracle.knowledge(world, "ann")["items"] == 0
    assert oracle.knowledge_curve(world, "ann", BEGIN, BEGIN + 99 * DAY) == []
    assert oracle.item_forgetting(world, "ann", "a") == []
    assert oracle.calibration(world, "ann") is None


def test_the_curve_has_a_point_for_each_week_up_to_today() -> None:
    world = see(*LOG, answer(15, "e"), day=16)
    points = oracle.knowledge_curve(world, "ann", BEGIN - 99 * DAY, BEGIN + 99 * DAY)
    assert [(p["start"].day, p["end"].day, p["items"]) for p in points] == [
        (1, 7, 4),
        (8, 14, 4),
        (15, 17, 5),
    ]
    then = [memory.estimate(m, date(2024, 1, 7)) for m in at(*LOG, until=date(2024, 1, 7))]
    assert points[0]["expected"] == memory.rounded(sum(then), 1)
    assert points[2]["expected"] == oracle.knowledge(world, "ann")["expected"]
    assert oracle.knowledge_curve(world, "ann", BEGIN + DAY, BEGIN + 14 * DAY) == points[1:]


def at(*events: oracle.Event, until: date) -> list[Memory]:
    return [*memory.memories(see(*events, day=999), "ann", until).values()]


def test_a_flight_west_puts_an_answer_ahead_of_today() -> None:
    """The local days of the answers are 9, 8 and 9 January; today is the 8th, then the 9th."""
    events = [fly(0, "Pacific/Kiritimati"), answer(7.5), fly(7.6, "Pacific/Honolulu")]
    events += [answer(7.7, right=False)]
    world = see(*events, day=7.8)
    assert oracle.knowledge(world, "ann")["expected"] == memory.rounded(
        memory.recall_after(1, math.exp(oracle.item_states(world, "ann")["i"]["stability"] / 1e7)),
        1,
    )
    assert forgetting(world, days=0) == [(8, 1.0, 0.882)]
    assert forgetting(world, days=1) == [(8, 1.0, 0.882), (9, None, 1.0)]
    world = see(*events, answer(8.5), day=8.5)
    assert [row[0] for row in forgetting(world, days=2)] == [8, 9, 10, 11]
    assert [row[1] for row in forgetting(world, days=2)][1] is None


def forgetting(world: oracle.World, days: int, item: str = "i") -> list[tuple[Any, ...]]:
    """Return the day of the month, `before` and `after` of each point."""
    rows = oracle.item_forgetting(world, "ann", item, days)
    return [(row["date"].day, row["before"], row["after"]) for row in rows]


def test_the_estimates_of_an_item_are_a_saw_tooth() -> None:
    world = see(*LOG[:4], day=14)
    rows = forgetting(world, 5, "a")
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 14, 18, 20]
    assert [row[1] for row in rows if row[2] == 1.0] == [None, 0.881, 0.706]
    assert rows[3][:2] == (4, memory.rounded(memory.recall_after(3, 2.3065), 3))
    assert all(before == after for day, before, after in rows if day not in (1, 4, 10))


def test_the_estimates_of_an_item_begin_731_days_ago() -> None:
    world = see(answer(0), answer(5, right=False), day=735)
    rows = oracle.item_forgetting(world, "ann", "i", days=0)
    assert rows[0]["date"] == date(2024, 1, 6)
    assert rows[0]["before"] == memory.rounded(memory.recall_after(5, 2.3065), 3)
    assert len(rows) == 12
    assert len(oracle.item_forgetting(see(answer(0), day=736), "ann", "i", days=0)) == 1


def exams(count: int, user: str = "ann", wrong: int = 10) -> list[oracle.Event]:
    """Return answers of which `count` are tests, after a gap of two days, `wrong` of them wrong."""
    first = [answer(0, f"i{n}", user=user) for n in range(count)]
    return first + [answer(2, f"i{n}", right=n >= wrong, user=user) for n in range(count)]


def test_calibration_needs_50_tests_in_365_days() -> None:
    assert oracle.calibration(see(*exams(49)), "ann") is None
    for day, is_counted in ((1.9, False), (2, True), (366.9, True), (367, False)):
        assert bool(oracle.calibration(see(*exams(50), day=day), "ann")) == is_counted
    row = oracle.calibration(see(*exams(50)), "ann")
    assert row
    p = memory.recall_after(2, 2.3065)
    assert (row["tests"], [one["tests"] for one in row["bins"]]) == (50, [0] * 9 + [50])
    loss = -(0.2 * math.log(1 - p) + 0.8 * math.log(p))
    constant = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert (row["log_loss"], row["constant_log_loss"]) == pytest.approx((loss, constant), abs=1e-6)
    assert row["bins"][9]["predicted"] == pytest.approx(p, abs=1e-6)
    assert row["bins"][9]["recalled"] == 0.8
    assert row["bins"][0] == {"from": 0, "to": 0.1, "tests": 0, "predicted": None, "recalled": None}


def test_losses_are_limited_and_bins_are_not() -> None:
    tests = [
        RecallTest(BEGIN, is_correct=True, predicted=p) for p in (0.0000004, 0.9999996, 0.0999996)
    ]
    row = memory.calibrate([*tests, *[tests[0]] * 47])
    assert row
    losses = 48 * -math.log(0.001) - math.log(0.999) - math.log(0.0999996)
    assert row["log_loss"] == pytest.approx(losses / 50, abs=1e-6)
    assert row["constant_log_loss"] == pytest.approx(-math.log(0.999), abs=1e-6)
    assert {n: one["predicted"] for n, one in enumerate(row["bins"]) if one["tests"]} == {
        0: 0.0,
        1: 0.1,
        9: 1.0,
    }


def test_calibration_of_all_needs_20_learners_with_a_test() -> None:
    events = [one for n in range(20) for one in exams(3, f"u{n:02}", wrong=1)]
    row = oracle.calibration_of_all(see(*events))
    assert row
    assert (row["tests"], row["bins"][9]["recalled"]) == (60, pytest.approx(2 / 3))
    assert oracle.calibration_of_all(see(*events[:-3])) is None
    assert oracle.calibration_of_all(see(*events, event("UserDeleted", NOW, "u07"))) is None


def test_a_group_knows_what_its_members_know() -> None:
    users = ("ann", "bob", "cat", "dan")
    events = [answer(day, item, user=user) for user in users for day, item in ((0, "i"), (1, "j"))]
    events += [answer(0, "k", user=user) for user in users[1:]]
    events += [answer(900, "i", user="dan"), *map(join, users), described("j", "A1")]
    world = see(*events, day=900)
    known = oracle.group_knowledge(world, "g")
    parts = [oracle.expected_known(world, user) for user in users]
    assert known["items"] == 11
    assert known["expected"] == pytest.approx(sum(parts), abs=0.05 * 5)
    rows = oracle.items_fading(world, "g")
    assert [(r["item_id"], r["learners"], r["answered"], r["level"]) for r in rows] == [
        ("j", 4, 4, "A1"),
        ("i", 3, 4, "UNKNOWN"),
        ("k", 3, 3, "UNKNOWN"),
    ]
    assert oracle.items_fading(world, "g", 1) == rows[:1]
    left = event("LearnerLeftGroup", NOW + DAY, "ann", group_id="g")
    world = see(*events, left, day=900)
    assert [r["item_id"] for r in oracle.items_fading(world, "g")] == ["j", "k"]
    assert oracle.group_knowledge(see(), "g") == {"items": 0, "expected": 0.0}


ZONES = ("Pacific/Kiritimati", "Pacific/Honolulu", "Asia/Kathmandu")


@st.composite
def worlds(draw: st.DrawFn) -> list[oracle.Event]:
    """Draw a learner's answers over some weeks with flights, items of two levels, archived ones."""
    hours = st.integers(0, 24 * 40).map(lambda hour: hour / 24)
    answers = draw(st.lists(st.tuples(hours, st.sampled_from("abc"), st.booleans()), max_size=20))
    events = [answer(day, item, right=right) for day, item, right in answers]
    flights = draw(st.lists(st.tuples(hours, st.sampled_from(ZONES)), max_size=4))
    events += [fly(day, timezone) for day, timezone in flights]
    events += [described("a", "A1"), described("b", draw(st.sampled_from(["A1", "C2", None])))]
    return events + draw(st.lists(st.just(described("a", None, "ItemArchived")), max_size=1))


QUERY = st.integers(0, 24 * 60).map(lambda hour: hour / 24)


@given(events=worlds(), day=QUERY, later=st.lists(st.integers(0, 3650), max_size=4))
def test_knowledge_never_rises_without_study(
    events: list[oracle.Event], day: float, later: list[int]
) -> None:
    world = see(*events, day=day)
    today = oracle.day_of(world, "ann", world.now)
    rows = [oracle.knowledge(world, "ann", today + n * DAY) for n in sorted([0, *later])]
    assert [row["expected"] for row in rows] == sorted((r["expected"] for r in rows), reverse=True)
    assert [row["fading"] for row in rows] == sorted(row["fading"] for row in rows)
    for known in memory.memories(world, "ann").values():
        falling = [memory.estimate(known, today + n * DAY) for n in range(-40, 400)]
        assert falling == sorted(falling, reverse=True)


@given(events=worlds(), day=QUERY, ahead=st.integers(0, 3650))
def test_the_levels_add_up_to_the_whole(events: list[oracle.Event], day: float, ahead: int) -> None:
    world = see(*events, day=day)
    row = oracle.knowledge(world, "ann", oracle.day_of(world, "ann", world.now) + ahead * DAY)
    for field in ("items", "fading"):
        assert sum(level[field] for level in row["levels"]) == row[field]
    parts = sum(level["expected"] for level in row["levels"])
    assert parts == pytest.approx(row["expected"], abs=0.05 * (len(row["levels"]) + 1) + 1e-9)


@given(events=worlds(), day=QUERY)
def test_the_current_week_of_the_curve_is_the_knowledge_of_today(
    events: list[oracle.Event], day: float
) -> None:
    world = see(*events, day=day)
    points = oracle.knowledge_curve(world, "ann", BEGIN - 99 * DAY, BEGIN + 99 * DAY)
    today = oracle.knowledge(world, "ann")
    mondays = [point["start"] for point in points]
    assert mondays == [mondays[0] + 7 * n * DAY for n in range(len(mondays))] if mondays else True
    if points:
        point = points[-1]
        assert [point[f] for f in ("end", "items", "expected")] == [
            today[f] for f in ("on", "items", "expected")
        ]
        past = [(p["items"], p["end"] - p["start"]) for p in points[:-1]]
        assert all(items > 0 and length == 6 * DAY for items, length in past)


@given(events=worlds(), day=QUERY, days=st.integers(0, 365))
def test_no_day_of_an_item_has_two_points(
    events: list[oracle.Event], day: float, days: int
) -> None:
    world = see(*events, day=day)
    last = oracle.day_of(world, "ann", world.now) + days * DAY
    for item, answers in memory.histories(world, "ann").items():
        rows = oracle.item_forgetting(world, "ann", item, days)
        dates = [row["date"] for row in rows]
        answered = {one.day for one in answers if one.day <= last}
        assert dates == sorted(set(dates))
        assert answered <= set(dates)
        assert not answered or dates[-1] == last
        assert [row["date"] for row in rows if row["before"] is None] == (
            [answers[0].day] if answers[0].day <= last else []
        )
        quiet = [row for row in rows if row["date"] not in answered]
        assert all(row["before"] == row["after"] for row in quiet)


@given(events=worlds(), day=QUERY, chance=st.randoms(use_true_random=False))
def test_any_order_and_any_redelivery_of_the_events_gives_the_same(
    events: list[oracle.Event], day: float, chance: Any
) -> None:
    again = events + chance.sample(events, len(events) // 2)
    chance.shuffle(again)
    assert everything(see(*again, day=day)) == everything(see(*events, day=day))


def everything(world: oracle.World) -> list[Any]:
    return [
        oracle.item_states(world, "ann"),
        oracle.by_recall(world, "ann"),
        oracle.knowledge(world, "ann"),
        oracle.knowledge_curve(world, "ann", BEGIN, BEGIN + 99 * DAY),
        *(oracle.item_forgetting(world, "ann", item) for item in "abc"),
        memory.last_tests(world, "ann"),
    ]


@given(
    tests=st.lists(
        st.builds(RecallTest, st.just(BEGIN), st.booleans(), st.floats(0, 1)),
        min_size=50,
        max_size=99,
    )
)
def test_the_bins_contain_each_test_once(tests: list[RecallTest]) -> None:
    row = memory.calibrate(tests)
    assert row
    bins = [one for one in row["bins"] if one["tests"]]
    assert sum(one["tests"] for one in bins) == row["tests"] == len(tests)
    assert all(one["from"] - 1e-9 <= one["predicted"] <= one["to"] for one in bins)
    recalled = sum(one["tests"] * one["recalled"] for one in bins)
    assert recalled == pytest.approx(sum(test.is_correct for test in tests))
    assert row["constant_log_loss"] <= math.log(2) + 1e-6


class Review(NamedTuple):
    card: str
    at: datetime
    answer: Answer


@pytest.fixture(scope="module")
def reviews() -> list[Review]:
    """Return the real log in order; days begin at 4 in New York."""
    with ANKI.open(encoding="utf-8") as file:
        rows = [(datetime.fromisoformat(r["review_time"]), r) for r in csv.DictReader(file)]
    local = zone("America/New_York")

    def day(moment: datetime) -> date:
        return (moment.astimezone(local).replace(tzinfo=None) - timedelta(hours=4)).date()

    found = [(at, r["card_id"], r["review_rating"] != "1") for at, r in sorted(rows, key=_moment)]
    return [Review(card, at, Answer(day(at), is_correct)) for at, card, is_correct in found]


def _moment(row: tuple[datetime, dict[str, str]]) -> datetime:
    return row[0]


def by_card(reviews: Iterable[Review]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for review in reviews:
        found.setdefault(review.card, []).append(review.answer)
    return found


def test_the_states_of_the_real_log_are_those_of_py_fsrs(reviews: list[Review]) -> None:
    """The difference is that of the rounding: the library does not round."""
    differences = []
    for answers in by_card(reviews).values():
        for state, (days, difficulty) in zip(states(answers), in_library(answers), strict=True):
            if days < 36_500:
                differences.append((state.days / days - 1, state.difficulty / 1e7 - difficulty))
    assert len(differences) == 12_580
    assert 1e-8 < max(abs(one) for one, _ in differences) < 2.21e-7
    assert 1e-8 < max(abs(one) for _, one in differences) < 2.1e-7


def in_library(answers: Iterable[Answer]) -> Iterator[tuple[float, float]]:
    """Yield the stability and the difficulty after each answer, at midnight of its day."""
    scheduler = fsrs.Scheduler(enable_fuzzing=False)
    card = fsrs.Card(card_id=1)
    for one in answers:
        rating = fsrs.Rating.Good if one.is_correct else fsrs.Rating.Again
        midnight = datetime(one.day.year, one.day.month, one.day.day, tzinfo=UTC)
        card, _ = scheduler.review_card(card, rating, midnight)
        assert card.stability is not None
        assert card.difficulty is not None
        yield card.stability, card.difficulty


def test_the_rounded_states_are_those_of_exact_arithmetic(reviews: list[Review]) -> None:
    """So another machine, whose functions differ in the last bit, has the same states."""
    for answers in list(by_card(reviews).values())[::5]:
        assert states(answers) == exact_states(answers)


def exact_states(answers: Iterable[Answer]) -> list[tuple[int, int]]:
    """Return the states, computed with 30 digits."""
    w = [Decimal(str(one)) for one in memory.W]
    found: list[tuple[int, int]] = []
    before = None
    with localcontext(prec=30):
        factor = Decimal("0.9") ** (-1 / w[20]) - 1
        for one in answers:
            g = 3 if one.is_correct else 1
            if before is None:
                s, d = w[g - 1], w[4] - (w[5] * (g - 1)).exp() + 1
            else:
                s, d = (Decimal(found[-1][0]) / 10**7).exp(), Decimal(found[-1][1]) / 10**7
                t = max((one.day - before.day).days, 0)
                lost = 1 - (1 + factor * t / s) ** -w[20]
                drift = d - (10 - d) * w[6] * (g - 3) / 9
                easy = w[4] - (w[5] * 3).exp() + 1
                if t == 0:
                    grown = (w[17] * (g - 3 + w[18])).exp() * s ** -w[19]
                    s *= max(grown, Decimal(1)) if g == 3 else grown
                elif g == 3:
                    grown = w[8].exp() * (11 - d) * s ** -w[9] * ((lost * w[10]).exp() - 1)
                    s *= 1 + grown
                else:
                    long = w[11] * d ** -w[12] * ((s + 1) ** w[13] - 1) * (lost * w[14]).exp()
                    s = min(long, s / (w[17] * w[18]).exp())
                d = w[7] * (easy - drift) + drift
            s = min(max(s, Decimal("0.001")), Decimal(36_500))
            d = min(max(d, Decimal(1)), Decimal(10))
            half = Decimal("0.5")
            found.append((math.floor(10**7 * s.ln() + half), math.floor(10**7 * d + half)))
            before = one
    return found


class Exam(NamedTuple):
    """A test of the real log, with the review by SM-2 at the answer before: its interval, its age.

    `hours` are those since this answer.
    """

    item: ItemTest
    interval_days: int
    hours: int


def find_exams(reviews: list[Review]) -> list[Exam]:
    """Return the tests of the log in its order."""
    found: list[tuple[datetime, Exam]] = []
    histories: dict[str, list[Review]] = {}
    for review in reviews:
        histories.setdefault(review.card, []).append(review)
    for history in histories.values():
        tests = iter(analyses.find_item_tests("ann", [one.answer for one in history]))
        interval = None
        for before, one in pairwise(history):
            interval = sm2.repeat(interval, before.at, 4 if before.answer.is_correct else 2)
            if one.answer.day > before.answer.day:
                hours = (one.at - before.at) // timedelta(hours=1)
                found.append((one.at, Exam(next(tests), interval.interval_days, hours)))
    return [exam for _, exam in sorted(found, key=lambda pair: pair[0])]


@pytest.mark.parametrize(
    ("name", "loss", "rmse", "auc"),
    [
        ("former", 0.5313, 0.1222, 0.523),
        ("constant", 0.4846, 0.0976, 0.500),
        ("fsrs", 0.4519, 0.0722, 0.659),
    ],
)
def test_the_estimates_are_as_good_on_the_real_log_as_the_specification_says(
    reviews: list[Review], name: str, loss: float, rmse: float, auc: float
) -> None:
    exams = find_exams(reviews)
    first, last = exams[: len(exams) * 4 // 5], exams[len(exams) * 4 // 5 :]
    share = sum(exam.item.test.is_correct for exam in first) / len(first)
    predict: dict[str, Callable[[Exam], float]] = {
        "former": lambda exam: 0.9 ** (exam.hours / (24 * exam.interval_days)),
        "constant": lambda _: share,
        "fsrs": lambda exam: exam.item.test.predicted,
    }
    assert (len(exams), len(last)) == (6372, 1275)
    tests = [exam.item.test._replace(predicted=predict[name](exam)) for exam in last]
    assert round(memory.log_loss(tests, lambda test: test.predicted), 4) == loss
    assert round(analyses.rmse_bins((exam.item, predict[name](exam)) for exam in last), 4) == rmse
    assert round(analyses.area_under_curve(tests), 3) == auc
