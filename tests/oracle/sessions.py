"""What a learner did in one sitting: every session that a counted event names."""

from collections.abc import Iterable

from tests.oracle.days import answer_sums, firsts
from tests.oracle.events import CARD, Event, Row, World, answer_ms, defines_by_learner, grade


@defines_by_learner("learner_sessions")
def learner_sessions(world: World, user_id: str) -> dict[str, Row]:
    answers = [e for e in world.answers(user_id) if e.data.get("session_id") is not None]
    completions = world.completions(user_id)
    others = world.of(user_id, "SessionStarted", "SessionAbandoned")
    named = {e.data["session_id"] for e in (*answers, *completions, *others)}
    return {
        session: _row(
            _of(answers, session),
            _of(completions, session),
            _of(others, session),
            _of(firsts(world.answers(user_id)), session),
        )
        for session in named
    }


def _row(
    answers: list[Event], completions: list[Event], others: list[Event], new: list[Event]
) -> Row:
    times = [e.occurred_at for e in (*answers, *completions, *others)]
    starts = [e for e in others if e.type == "SessionStarted"]
    completed = completions[0] if completions else None
    seconds = completed.data.get("duration_seconds") if completed else None
    return {
        "started_at": min(times),
        "ended_at": max(times),
        "completed_at": completed.occurred_at if completed else None,
        "score": completed.data.get("score") if completed else None,
        "duration_seconds": None if seconds is None else min(seconds, 14_400),
        "item_count": starts[0].data.get("item_count") if starts else None,
        **answer_sums(answers),
        "items": len({e.data["item_id"] for e in answers}),
        "items_new": len(new),
        "items_missed": len({e.data["item_id"] for e in answers if grade(e) < 2}),
    }


def _of(events: Iterable[Event], session: str) -> list[Event]:
    return [e for e in events if e.data.get("session_id") == session]


def sessions(world: World, user_id: str) -> list[Row]:
    rows = [{"id": s, **row} for s, row in learner_sessions(world, user_id).items()]
    return sorted(sorted(rows, key=lambda r: r["id"]), key=lambda r: r["started_at"], reverse=True)


def given(world: World, user_id: str, session: str) -> list[Row]:
    answers = [e for e in world.answers(user_id) if e.data.get("session_id") == session]
    return [
        {
            "item_id": e.data["item_id"],
            "correct": grade(e) >= 2,
            "rating": grade(e) if e.type == CARD else None,
            "response_time_ms": None if (time := answer_ms(e)) is None else float(time),
            "at": e.occurred_at,
        }
        for e in answers[:1000]
    ]
