"""The trace of who read a learner's record: its rows, and the writer of new ones."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from progress.adapters.telemetry import logs
from progress.auth import Caller
from progress.errors import DatabaseUnavailable, StatementFailed
from progress.query.read_models.reader import Reader

_FILE = "event_store/accesses"
_MAX_REMEMBERED = 50_000  # traces; they take some 10 MB


class Access(msgspec.Struct, frozen=True):
    """A reader of a learner's record, and the UTC hour in which they read.

    It is also the position of the row in a list of accesses.
    """

    read_by: str
    role: str
    hour: Annotated[datetime, msgspec.Meta(tz=True)]
    user_id: str = ""  # of an erased learner, the digest; "" in a cursor of version 0.4


async def get_accesses(
    reader: Reader, user_id: str, *, first: int, after: Access | None
) -> list[Access]:
    """Return at most `first` accesses to the learner's record, newest hour first."""
    return await _fetch(reader, "list", first, after, user_id=user_id)


async def get_accesses_of(
    reader: Reader, read_by: str, *, first: int, after: Access | None
) -> list[Access]:
    """Return at most `first` accesses of a reader to any record, newest hour first."""
    return await _fetch(reader, "of reader", first, after, read_by=read_by)


async def _fetch(
    reader: Reader, block: str, first: int, after: Access | None, **whose: str
) -> list[Access]:
    rows = await reader.fetch(
        *(_FILE, block),
        first=first,
        after_hour=after and after.hour,
        after_reader=after and after.read_by,
        after_user=after and after.user_id,
        after_role=after and after.role,
        **whose,
    )
    return [Access(**row) for row in rows]


class AccessTrace:
    """A writer of traces. It remembers what it has written in the current hour.

    The database's clock decides the hour of a trace. While this clock is behind the process's,
    nothing is remembered, so that the new hour gets its trace, too.
    """

    def __init__(
        self, reader: Reader, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._reader, self._clock = reader, clock
        self._hour = datetime.min.replace(tzinfo=UTC)
        self._written: set[tuple[str, str, str]] = set()  # in this hour: reader, role, learner

    async def write(
        self, caller: Caller, learners: Iterable[str], trails: Iterable[str] = ()
    ) -> None:
        """Write that the caller reads these learners' records; return once it is on disk.

        `trails` are the learners whose audit trails the caller reads. Raise Unavailable if the
        traces cannot be written, whatever the cause: then, the caller must not get the records.
        """
        new = self._select_new(caller, learners), self._select_new(caller, trails)
        if not any(new):
            return
        try:
            (row,) = await self._reader.fetch(
                *(_FILE, "record"),
                read_by=caller.user_id,
                role=caller.role,
                learners=new[0],
                trails=new[1],
            )
        except StatementFailed as error:
            reason = f"the trace cannot be written: {error}"
            logs.write("ERROR", reason)  # a stream that ends does not say why
            raise DatabaseUnavailable(reason) from error
        if row["hour"] < self._hour:
            return
        if len(self._written) > _MAX_REMEMBERED:
            self._written.clear()
        self._written.update((caller.user_id, caller.role, each) for each in row["traced"])

    def _select_new(self, caller: Caller, learners: Iterable[str]) -> list[str]:
        """Return the learners other than the caller without a trace of the caller in this hour."""
        others = {learner for learner in learners if learner != caller.user_id}
        if not others:
            return []
        hour = self._clock().replace(minute=0, second=0, microsecond=0)
        if hour != self._hour:
            self._hour = hour
            self._written.clear()
        return [each for each in others if (caller.user_id, caller.role, each) not in self._written]
