"""The milestones that a learner is told, one after the other.

A subscription of the hub yields only the newest state. A feed must not skip a milestone, so it
takes from the hub only that there are new marks, and reads the marks itself.
"""

from collections import deque

from progress.adapters import request_scope
from progress.errors import BadInput
from progress.query.live.hub import Subscription
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import Milestone, convert_milestone

_AT_ONCE = 100  # marks that one statement reads


class MilestoneFeed:
    """An iterator over a learner's milestones after the mark `after`, in the order of the marks.

    The iteration ends when the feed is closed. The `check` of `news` is called before each
    milestone; an error that it raises is passed on.
    """

    def __init__(self, reader: Reader, learner: str, after: int, news: Subscription[int]) -> None:
        self._reader, self._learner, self._after, self._news = reader, learner, after, news
        self._waiting: deque[tuple[int, Milestone]] = deque()

    def __aiter__(self) -> "MilestoneFeed":
        return self

    async def __anext__(self) -> Milestone:
        if self._waiting and self._news.check is not None:
            await self._news.check()
        while not self._waiting:
            if await anext(self._news) > self._after:  # this calls the check, too
                with request_scope.begin(request_scope.TIMEOUT_S):  # the request's has passed
                    self._waiting += await read_following(self._reader, self._learner, self._after)
        self._after, milestone = self._waiting.popleft()
        return milestone

    def close(self) -> None:
        self._waiting.clear()
        self._news.close()


async def read_following(reader: Reader, learner: str, after: int) -> list[tuple[int, Milestone]]:
    """Return all milestones after a mark with the numbers of their marks."""
    found: list[tuple[int, Milestone]] = []
    while True:
        values = {"user_id": learner, "number": after, "limit": _AT_ONCE}
        rows = await reader.fetch("query/milestone_marks", "following", **values)
        for row in map(dict, rows):
            number = row.pop("number")
            found.append((number, convert_milestone(learner, row)[1]))
        if len(rows) < _AT_ONCE:
            return found
        after = rows[-1]["number"]


async def find_start(reader: Reader, learner: str, after: str | None) -> int:
    """Return the number of the mark after which a feed begins: the milestone `after`, or now.

    Raise BadInput if the learner was told no milestone with the id `after`.
    """
    if after is None:
        (row,) = await reader.fetch("query/milestone_marks", "newest", learners=[learner])
        return int(row["number"])
    for number, milestone in await read_following(reader, learner, 0):
        if milestone.id == after.lower():
            return number
    raise BadInput("after: expected the id of a milestone that the learner was told")
