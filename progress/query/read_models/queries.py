"""The typed Python API of the read models: its methods return records.

`at` decides which day is today; the default is the current time. `as_of` selects the events that
had happened by that time, `known_at` those that had been recorded by that time. Today is then the
day of `as_of` or, if only `known_at` is given, the day of `known_at`. `language` selects the items
of one language: a primary subtag in lower case, or `und` for items without a language. Own lists
and own words are returned only if `is_learner` says that the reader is the learner.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypedDict, TypeVar, Unpack

import msgspec
from msgspec import convert

from progress import settings
from progress.errors import BadInput, ProjectionError
from progress.event_store import learner_post_check
from progress.query.read_models import rows
from progress.query.read_models.reader import Page, Reader

_T = TypeVar("_T")

_FEWEST_LEARNERS = 20
_MAX_AHEAD = timedelta(days=3_650)
_recorded = msgspec.json.Decoder(rows.RecordedEvent)


class _Moment(TypedDict, total=False):
    """The keyword arguments that select a moment; see the module's docstring."""

    at: datetime | None
    as_of: datetime | None
    known_at: datetime | None


class Queries:
    """Typed queries. All methods raise Unavailable if the database does not respond."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    async def run(
        self, user_id: str, query: rows.RowQuery[_T], *, is_learner: bool = False
    ) -> list[_T]:
        whose = {"user_id": user_id, "is_learner": is_learner}
        found = await self.reader.fetch_at(
            query.moment, query.file, query.block, **whose, **query.parameters
        )
        return [query.record(row) for row in found]

    async def get_current_progress(
        self, user_id: str, **moment: Unpack[_Moment]
    ) -> rows.UserProgress | None:
        """Return the learner's progress; None if the learner has no events or is deleted."""
        return _first(await self.run(user_id, rows.select_user_progress(_moment(**moment))))

    async def get_daily_stats(
        self, user_id: str, date: date, **moment: Unpack[_Moment]
    ) -> rows.DailyStats | None:
        """Return one local day; None if the learner has no events on this day."""
        return _first(await self.get_stats_range(user_id, date, date, **moment))

    async def get_stats_range(
        self,
        user_id: str,
        start_date: date,
        end_date: date,
        *,
        zero_fill: bool = False,
        **moment: Unpack[_Moment],
    ) -> list[rows.DailyStats]:
        """Return the local days of a range, both ends inclusive, oldest first.

        Days without events are left out; `zero_fill` adds them, unless the learner has no events.
        """
        query = rows.select_daily_stats(
            _moment(**moment), start_date, end_date, zero_fill=zero_fill
        )
        return await self.run(user_id, query)

    async def get_weekly_stats(
        self,
        user_id: str,
        start_date: date,
        end_date: date,
        *,
        zero_fill: bool = False,
        **moment: Unpack[_Moment],
    ) -> list[rows.PeriodStats]:
        """Return the weeks whose Monday lies in the range, oldest first."""
        query = rows.select_weekly_stats(
            _moment(**moment), start_date, end_date, zero_fill=zero_fill
        )
        return await self.run(user_id, query)

    async def get_monthly_stats(
        self, user_id: str, start_date: date, end_date: date, **moment: Unpack[_Moment]
    ) -> list[rows.PeriodStats]:
        """Return the whole calendar months whose first day lies in the range, oldest first."""
        query = rows.select_monthly_stats(_moment(**moment), start_date, end_date)
        return await self.run(user_id, query)

    async def get_item_stats(
        self,
        user_id: str,
        *,
        first: int,
        filter: rows.ItemFilter = rows.ItemFilter.ALL,  # noqa: A002 - the name in api.graphql
        order_by: rows.ItemOrder = rows.ItemOrder.RECENT,
        level: rows.CefrLevel | None = None,
        domain: rows.Domain | None = None,
        list_id: str | None = None,
        search: str = "",
        language: str | None = None,
        span: tuple[date, date] | None = None,
        after: rows.ItemKey | None = None,
        is_learner: bool = False,
        **moment: Unpack[_Moment],
    ) -> Page[tuple[rows.ItemKey, rows.ItemStats]]:
        """Return at most `first` studied items after `after` whose headwords contain `search`.

        `span` is the first and the last day of a dated filter; without it, such a filter lists
        nothing.
        """
        first_day, last_day = span or (None, None)
        return await self.reader.fetch_page(
            "read_models/item_stats",
            "list",
            _with_key,
            {"filter": filter, "order_by": order_by},
            moment=_moment(**moment),
            user_id=user_id,
            is_learner=is_learner,
            level=level,
            domain=domain,
            list_id=list_id,
            search=search,
            language=language,
            first_day=first_day,
            last_day=last_day,
            first=first,
            days=1,  # the filter DUE needs only today's due items
            **rows.parameters_after(rows.ItemKey, after),
        )

    async def get_item(
        self, user_id: str, item_id: str, *, is_learner: bool = False, **moment: Unpack[_Moment]
    ) -> rows.ItemStats | None:
        """Return one item; None if it is neither described nor studied nor an own word."""
        query = rows.select_item(_moment(**moment), item_id)
        return _first(await self.run(user_id, query, is_learner=is_learner))

    async def get_lists(
        self,
        user_id: str,
        *,
        first: int,
        scale: str | None = None,
        after: rows.ListKey | None = None,
        is_learner: bool = False,
        groups: Sequence[str] | None = None,
        **moment: Unpack[_Moment],
    ) -> Page[tuple[rows.ListKey, rows.WordList]]:
        """Return at most `first` lists after `after`, by scale, rank, name and id.

        These are all lists of the scale or, without one, those that are assigned to the learner's
        groups, of which only `groups` count unless it is None; and the learner's own.
        """
        return await self.reader.fetch_page(
            "read_models/lists",
            "numbers",
            _with_list_key,
            id_column="id",
            moment=_moment(**moment),
            user_id=user_id,
            is_learner=is_learner,
            list_id=None,
            in_scale=scale,
            groups=groups,
            first=first,
            days=1,
            **rows.parameters_after(rows.ListKey, after),
        )

    async def get_list(
        self, user_id: str, list_id: str, *, is_learner: bool = False, **moment: Unpack[_Moment]
    ) -> rows.FoundList | None:
        """Return one list; None if there is none, or if it is an own one of another reader."""
        query = rows.select_list(_moment(**moment), user_id, list_id)
        found = await self.run(user_id, query, is_learner=is_learner)
        return found[0] if found[0].id else None  # without a list, the row has nulls

    async def get_list_items(
        self,
        user_id: str,
        list_id: str,
        *,
        first: int,
        after: rows.MemberKey | None = None,
        is_learner: bool = False,
        **moment: Unpack[_Moment],
    ) -> Page[tuple[rows.MemberKey, rows.ItemStats]]:
        """Return at most `first` members of the list after `after`, in the list's order."""
        return await self.reader.fetch_page(
            "read_models/lists",
            "members",
            _with_member_key,
            moment=_moment(**moment),
            user_id=user_id,
            is_learner=is_learner,
            list_id=list_id,
            first=first,
            **rows.parameters_after(rows.MemberKey, after),
        )

    async def get_item_lists(
        self, user_id: str, item_id: str, *, is_learner: bool = False
    ) -> list[rows.ItemList]:
        """Return the lists that name the item, by scale, rank, name and id, at most 50."""
        found = await self.reader.fetch(
            "read_models/lists", "of item", user_id=user_id, item_id=item_id, is_learner=is_learner
        )
        return [rows.ItemList(**row) for row in found]

    async def get_scales(self, user_id: str, *, is_learner: bool = False) -> list[rows.Scale]:
        """Return the scales of lists, those with most lists first, at most 100."""
        found = await self.reader.fetch(
            "read_models/lists", "scales", user_id=user_id, is_learner=is_learner
        )
        return [rows.Scale(**row) for row in found]

    async def get_tasks(
        self,
        user_id: str,
        *,
        first: int,
        after: rows.TaskKey | None = None,
        groups: Sequence[str] | None = None,
        at: datetime | None = None,
    ) -> list[rows.LearnerTask]:
        """Return at most `first` tasks of the learner's groups after `after`, latest day first.

        Only `groups` count unless it is None.
        """
        found = await self.reader.fetch(
            *("read_models/list_assignments", "of learner"),
            user_id=user_id,
            now=_moment(at=at).now,
            groups=groups,
            first=first,
            **rows.parameters_after(rows.TaskKey, after),
        )
        return [rows.LearnerTask(**row) for row in found]

    async def get_item_history(
        self, user_id: str, item_id: str, **moment: Unpack[_Moment]
    ) -> rows.ItemHistory:
        """Return the item's reviews and its answers by day, both for the last 731 local days."""
        found = await self.reader.fetch_at(
            _moment(**moment),
            "read_models/item_days",
            "history",
            user_id=user_id,
            item_id=item_id,
        )
        return rows.ItemHistory(
            [convert(dict(row), rows.ItemReview) for row in found if row["at"] is not None],
            [convert(dict(row), rows.ItemDay) for row in found if row["at"] is None],
        )

    async def get_knowledge(
        self,
        user_id: str,
        on: date | None = None,
        *,
        language: str | None = None,
        **moment: Unpack[_Moment],
    ) -> rows.Knowledge:
        """Return what the learner still knows on a day; the default is today.

        Raise BadInput unless the day is today or at most 3,650 days later.
        """
        found = await self.reader.fetch_at(
            _moment(**moment),
            "read_models/memory",
            "knowledge",
            user_id=user_id,
            on=on,
            language=language,
        )
        today, last = found[0]["today"], found[0]["today"] + _MAX_AHEAD
        if on is not None and not today <= on <= last:
            raise BadInput(f"on: expected a day from {today} to {last} - found {on}")
        total, *levels = map(dict, found)
        return convert({**total, "levels": levels}, rows.Knowledge)

    async def get_knowledge_curve(
        self, user_id: str, first_day: date, last_day: date, *, at: datetime | None = None
    ) -> list[rows.KnowledgePoint]:
        """Return the weeks whose Monday lies in the range, oldest first, up to the current one.

        The first is the week of the learner's first day with an answer.
        """
        found = await self._fetch_curve("knowledge_weeks", user_id, first_day, last_day, at)
        return [rows.KnowledgePoint(**row) for row in found]

    async def get_sessions(
        self,
        user_id: str,
        *,
        first: int,
        after: rows.SessionKey | None = None,
        is_counted: bool = True,
        **moment: Unpack[_Moment],
    ) -> Page[tuple[rows.SessionKey, rows.StudySession]]:
        """Return at most `first` sessions after `after`, newest first, without their answers.

        The page has the number of all only if `is_counted`.
        """
        return await self.reader.fetch_page(
            "read_models/learner_sessions",
            "list",
            _with_session_key,
            id_column="id",
            moment=_moment(**moment),
            user_id=user_id,
            is_counted=is_counted,
            first=first,
            **rows.parameters_after(rows.SessionKey, after),
        )

    async def get_session(
        self, user_id: str, session_id: str, *, is_learner: bool = False, **moment: Unpack[_Moment]
    ) -> rows.StudySession | None:
        """Return a session with its first 1,000 answers, in order; None if there is none.

        If there is none of this id, return that of the id that a post of the learner gives it.
        """
        found = await self.reader.fetch_at(
            _moment(**moment),
            "read_models/learner_sessions",
            "session",
            user_id=user_id,
            is_learner=is_learner,
            id=session_id,
            own_id=learner_post_check.own_id(user_id, session_id),
        )
        if not found:
            return None
        given = [convert(dict(row), rows.SessionAnswer) for row in found if row["at"] is not None]
        return convert({**found[0], "given": given}, rows.StudySession)

    async def get_mastery_curve(
        self, user_id: str, first_day: date, last_day: date, *, at: datetime | None = None
    ) -> list[rows.MasteryPoint]:
        """Return the weeks whose Monday lies in the range, oldest first, up to the current one.

        The first is the week of the learner's first day with an answer or review.
        """
        found = await self._fetch_curve("mastery_weeks", user_id, first_day, last_day, at)
        return [rows.MasteryPoint(**row) for row in found]

    async def _fetch_curve(
        self, model: str, user_id: str, first_day: date, last_day: date, at: datetime | None
    ) -> Sequence[Mapping[str, Any]]:
        return await self.reader.fetch(
            f"read_models/{model}",
            "curve",
            user_id=user_id,
            first_day=first_day,
            last_day=last_day,
            now=_or_now(at),
        )

    async def get_calibration(
        self, user_id: str, *, at: datetime | None = None
    ) -> rows.Calibration | None:
        """Return how well estimates predicted the last 365 local days; None under 50 tests."""
        file, block = "read_models/calibration_days", "of learner"
        return rows.calibrate(
            await self.reader.fetch(file, block, user_id=user_id, now=_or_now(at))
        )

    async def get_calibration_of_all(
        self, *, at: datetime | None = None
    ) -> rows.Calibration | None:
        """Return the same over all learners; None with fewer than 20 learners that have a test."""
        file, block = "read_models/calibration_days", "of all"
        found = await self.reader.fetch(file, block, now=_or_now(at))
        if not found or found[0]["learners"] < _FEWEST_LEARNERS:
            return None
        return rows.calibrate(found)

    async def get_domain_stats(
        self, user_id: str, *, language: str | None = None, **moment: Unpack[_Moment]
    ) -> list[rows.DomainStats]:
        """Return each domain that has items in the catalogue or that the learner has studied.

        The order is R, W, L, S, UNKNOWN.
        """
        return await self.run(user_id, rows.select_domain_stats(_moment(**moment), language))

    async def get_level_stats(
        self, user_id: str, *, language: str | None = None, **moment: Unpack[_Moment]
    ) -> list[rows.LevelStats]:
        """Return each level that has items in the catalogue or that the learner has studied.

        The easiest level comes first, UNKNOWN last.
        """
        return await self.run(user_id, rows.select_level_stats(_moment(**moment), language))

    async def get_streak(self, user_id: str, **moment: Unpack[_Moment]) -> rows.Streak:
        """Return the learner's streak on today's local day; zeros if the learner has no events."""
        return (await self.run(user_id, rows.select_streak(_moment(**moment))))[0]

    async def get_due_forecast(
        self, user_id: str, days: int, **moment: Unpack[_Moment]
    ) -> list[rows.DueDay]:
        """Return, for each of `days` local days from today, the number of items that fall due."""
        return await self.run(user_id, rows.select_due_forecast(_moment(**moment), days))

    async def get_milestones(
        self,
        user_id: str,
        *,
        first: int,
        kinds: Sequence[rows.MilestoneKind] | None = None,
        after: rows.MilestoneKey | None = None,
    ) -> Page[tuple[rows.MilestoneKey, rows.Milestone]]:
        """Return at most `first` milestones after `after`, newest first; by default, of all kinds.

        `after` need not be the key of an existing milestone.
        """
        return await self.reader.fetch_page(
            "read_models/milestones",
            "list",
            lambda row: rows.convert_milestone(user_id, row),
            id_column="kind",
            user_id=user_id,
            kinds=kinds,
            first=first,
            **rows.parameters_after(rows.MilestoneKey, after),
        )

    async def get_today(self, user_id: str, **moment: Unpack[_Moment]) -> date:
        """Return the learner's local day at the moment; in UTC if the learner has no zone."""
        found = await self.reader.fetch_at(
            _moment(**moment), "read_models/preferences", "today", user_id=user_id
        )
        today: date = found[0]["day"]
        return today

    async def get_local_day(self, user_id: str, date: date) -> rows.LocalDay:
        """Return when the learner's local day begins and ends; UTC if the learner has no zone."""
        found = await self.reader.fetch(
            "read_models/preferences", "local day", user_id=user_id, day=date
        )
        return rows.LocalDay(**found[0])

    async def get_projection_status(
        self, *, at: datetime | None = None
    ) -> list[rows.ProjectionStatus]:
        limits = settings.current().lag_limits()
        found = await self.reader.fetch(
            "projections/checkpoints", "status", now=_or_now(at), **limits
        )
        return [convert(dict(row), rows.ProjectionStatus) for row in found]

    async def check_lag(
        self, projection_name: str, *, at: datetime | None = None
    ) -> rows.ProjectionStatus:
        """Return one projection's lag and status; raise ProjectionError for an unknown name."""
        for status in await self.get_projection_status(at=at):
            if status.name == projection_name:
                return status
        raise ProjectionError(f"there is no projection {projection_name}")

    async def get_recorded_events(
        self,
        user_id: str,
        *,
        first: int,
        types: Sequence[str] | None = None,
        before_version: int | None = None,
    ) -> list[rows.RecordedEvent]:
        """Return the learner's newest events, at most `first`.

        With `before_version`, return only events with a lower stream version.
        """
        found = await self.reader.fetch(
            "query/audit_trail",
            "list_events",
            user_id=user_id,
            types=types,
            before=before_version,
            first=first,
        )
        return [_recorded.decode(row[0]) for row in found]

    async def get_own_posts(self, user_id: str) -> rows.OwnPosts:
        (row,) = await self.reader.fetch("query/audit_trail", "own posts", user_id=user_id)
        return rows.OwnPosts(**row)


def _with_key(row: Mapping[str, Any]) -> tuple[rows.ItemKey, rows.ItemStats]:
    return rows.ItemKey(row["sort_key"], row["item_id"]), rows.convert_item(row)


def _with_list_key(row: Mapping[str, Any]) -> tuple[rows.ListKey, rows.WordList]:
    return convert(row, rows.ListKey), convert(row, rows.WordList)


def _with_member_key(row: Mapping[str, Any]) -> tuple[rows.MemberKey, rows.ItemStats]:
    return convert(row, rows.MemberKey), rows.convert_item(row)


def _with_session_key(row: Mapping[str, Any]) -> tuple[rows.SessionKey, rows.StudySession]:
    session = convert(row, rows.StudySession)
    return rows.SessionKey(session.started_at, session.id), session


def _first(records: Sequence[_T]) -> _T | None:
    return records[0] if records else None


def _moment(
    at: datetime | None = None, as_of: datetime | None = None, known_at: datetime | None = None
) -> rows.Moment:
    return rows.Moment(_or_now(at), as_of, known_at)


def _or_now(at: datetime | None) -> datetime:
    return at or datetime.now(UTC)
