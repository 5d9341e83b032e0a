"""The context that every resolver of a request receives: caller, time and data sources."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import msgspec
import strawberry
from strawberry.dataloader import DataLoader

from progress import auth
from progress.adapters import request_scope
from progress.auth import Caller, Part
from progress.errors import BadInput, Forbidden, RequestRejected
from progress.operations.records import Operation, OperationKind
from progress.query.graphql import arguments
from progress.query.graphql.downloads import Download, Downloads
from progress.query.graphql.learner_mutations import EventRecorder
from progress.query.graphql.outside import Outside
from progress.query.graphql.task_mutations import TaskRecorder
from progress.query.live import milestone_feed
from progress.query.live.hub import LiveQueries, Subscription
from progress.query.live.milestone_feed import MilestoneFeed
from progress.query.read_models import administration, groups
from progress.query.read_models.accesses import AccessTrace
from progress.query.read_models.queries import Queries
from progress.query.read_models.rows import Reader

_T = TypeVar("_T")
_TaskPage = tuple[groups.FoundTask, int, groups.TaskMemberKey | None]  # task, first, after
_Since = tuple[datetime | None, str, str, date | int]  # as_of, group, learner, first day or days


class Context(msgspec.Struct, frozen=True, dict=True):
    """The caller, the queries, and `at`, the current time for all fields of the request."""

    caller: Caller
    queries: Queries
    at: datetime
    trace: AccessTrace
    live_queries: LiveQueries | None = None  # Set only for streams and sockets.
    downloads: Downloads | None = None  # Set only over HTTP.
    outside: Outside | None = None  # Set only over HTTP.
    events: EventRecorder | None = None  # Set only over HTTP.
    tasks: TaskRecorder | None = None  # Set only over HTTP.
    members: set[str] = set()  # Learners whose group membership this request has checked.
    noted: set[str] = set()  # Learners whose data resolvers have returned, see `note`.
    noted_trails: set[str] = set()  # Learners whose recorded events they have returned.

    @functools.cached_property
    def since(self) -> "DataLoader[_Since, groups.LearnerSince]":
        """What learners did in some days up to today; one statement reads it for all of a list."""

        async def read(asked: list[_Since]) -> Sequence[groups.LearnerSince | BaseException]:
            found: dict[_Since, groups.LearnerSince | BaseException] = {}
            for as_of, group_id in dict.fromkeys(each[:2] for each in asked):
                some = [each for each in asked if each[:2] == (as_of, group_id)]
                done = await groups.get_since(
                    self.queries.reader,
                    [(user, span) for *_, user, span in some],
                    at=self.at,
                    as_of=as_of,
                    group_id=group_id,
                )
                found |= zip(some, done, strict=True)
            return [found[each] for each in asked]

        return DataLoader(read)

    @functools.cached_property
    def task_pages(self) -> "DataLoader[_TaskPage, tuple[int, list[groups.TaskMember]]]":
        """Who has done tasks, and pages of their members; one statement for all of a list."""
        return DataLoader(functools.partial(groups.get_task_pages, self.queries.reader, at=self.at))

    async def resolve_learner(self, user_id: str | None, part: Part = "data") -> str:
        """Return the requested learner; raise Forbidden if the caller may not read their data."""
        learner = self.caller.authorize(user_id, part)
        if self.caller.needs_membership(learner):
            await self.check_learner(learner)
        return learner

    async def check_learner(self, learner: str) -> None:
        """Raise Forbidden if the caller has no group with this learner; ask once per request."""
        if learner not in self.members:
            await self.check_membership(learner)
            self.members.add(learner)

    def find_groups(self, learner: str) -> Sequence[str] | None:
        """Return the groups whose tasks and lists the caller sees; None for all of the learner."""
        return self.caller.groups if self.caller.needs_membership(learner) else None

    @property
    def reader(self) -> Reader:
        """What tells whether a task's list exists for the caller."""
        return None if self.is_support else (self.caller.user_id, *self.caller.groups)

    async def check_membership(self, learner: str) -> None:
        """Raise Forbidden unless the learner is now a member of one of the caller's groups."""
        if not await groups.is_member(self.queries.reader, learner, self.caller.groups):
            raise Forbidden("a teacher may read the data of members of their groups only")

    def note(self, learners: Iterable[str]) -> None:
        """Note that the response holds data of these learners; it leaves traces of the caller."""
        self.noted.update(learners)

    def check_admin(self) -> None:
        if not self.is_admin:
            raise Forbidden("administrators only")

    async def find_operation(self, operation_id: str) -> Operation | None:
        """Return an operation; None if it does not exist or the caller may not see it.

        The caller may see operations that they requested, and the export of their own record.
        """
        parsed = arguments.parse_operation_id(operation_id)
        operation = await administration.get_operation(self.queries.reader, parsed)
        if operation is None or self.is_admin or self.caller.user_id in operation.requesters:
            return operation
        return operation if self._is_own_record(operation) else None

    def find_download(self, operation: Operation) -> Download | None:
        """Return the operation's file if the caller may fetch it."""
        if self.downloads is None or not self._may_fetch(operation):
            return None
        now = datetime.now(UTC)  # not `at`: in a stream, `at` is the time when the stream began
        download = self.downloads.find(operation, now)
        if download and operation.kind is OperationKind.EXPORT_USER and operation.subject:
            self.note([operation.subject])
        return download

    def _may_fetch(self, operation: Operation) -> bool:
        """Return whether it is the caller's own record, or they requested it and still may."""
        if self._is_own_record(operation):
            return True
        is_record = operation.kind is OperationKind.EXPORT_USER
        return self.caller.user_id in operation.requesters and (
            self.is_admin if is_record else self.is_support
        )

    def _is_own_record(self, operation: Operation) -> bool:
        is_record = operation.kind is OperationKind.EXPORT_USER
        return is_record and self.caller.user_id == operation.subject

    def authorize_group(self, group_id: str) -> strawberry.ID:
        parsed = auth.parse_id("groupId", group_id)
        self.caller.check_group(parsed)
        return strawberry.ID(parsed)

    async def find_shares(
        self, asked: Collection[str | None], *, of_tasks: bool
    ) -> dict[str, groups.Share] | None:
        """Return the shares of the groups that the caller may read; None stands for all groups.

        Return None if their members are too many to count.
        """
        visible: list[str] = []
        for group_id in asked:
            with contextlib.suppress(RequestRejected):
                visible.append(self.authorize_group(group_id or ""))
        ids = None if None in asked and self.is_support else visible
        return await groups.get_shares(self.queries.reader, ids, of_tasks=of_tasks)

    def check_support(self) -> None:
        if not self.is_support:
            raise Forbidden("support and administrators only")

    @property
    def is_support(self) -> bool:
        """True for support and administrators."""
        return self.caller.role in ("admin", "support")

    @property
    def is_admin(self) -> bool:
        return self.caller.role == "admin"

    def subscribe(self, topic: str, id_: str, select: Callable[[Any], _T]) -> Subscription[_T]:
        """Return a subscription to one learner or operation.

        The subscription yields `select(state)` for the current state and after every change.
        """
        if self.live_queries is None:
            raise BadInput("subscriptions need /graphql/stream or a WebSocket at /graphql")
        return self.live_queries.subscribe(topic, id_, select)

    def subscribe_to_learner(
        self, topic: str, learner: str, select: Callable[[Any], _T]
    ) -> Subscription[_T]:
        """Return a subscription; it raises Forbidden if the caller loses access to the learner."""
        subscription = self.subscribe(topic, learner, select)
        if self.caller.needs_membership(learner):
            subscription.check = functools.partial(self._check_again, learner)
        return subscription

    async def follow_milestones(self, topic: str, learner: str, after: str | None) -> MilestoneFeed:
        """Return the milestones that the learner is told from now on, or after the one `after`.

        The iteration raises Forbidden if the caller loses access to the learner.
        """
        reader = self.queries.reader
        start = await milestone_feed.find_start(reader, learner, after)
        news = self.subscribe_to_learner(topic, learner, lambda state: state.number)
        return MilestoneFeed(reader, learner, start, news)

    async def _check_again(self, learner: str) -> None:
        """Check the membership with a new deadline; the request's deadline may have passed."""
        with request_scope.begin(request_scope.TIMEOUT_S):
            await self.check_membership(learner)


Info = strawberry.Info[Context, None]
