"""The queries of a soak test: they read the data of a learner's page and of a teacher's page."""

from datetime import datetime, timedelta

from bench.soak import timeline

_LEARNER = (
    "{ userProgress { totalItemsLearned currentStreak accuracyRate } }",
    "{ dailyStats(RANGE, zeroFill: true) { date answers } restDays(RANGE) }",
    "{ itemStats(first: 50) { edges { node { itemId mastery estimatedRecall } } } }",
    "{ streak { current longest restToday } hourlyStats { hour answers accuracyRate } }",
    "{ levelStats { level itemsStudied progressRate masteredLast28Days expectedDate reached } }",
    "{ retention(RANGE, by: WEEK) { start young { asked rate } mature { asked rate } } }",
    "{ goal { answersToday daysMet7 week } workload { due overdue minutes } }",
    '{ itemHistory(itemId: "ITEM") { reviews { at intervalDays } days { date answers } } }',
    '{ userProgress(asOf: "SECOND_DAY") { totalItemsLearned } }',
)
_TEACHER = (
    '{ group(groupId: "GROUP") { members activeLast7Days hardestItems { itemId learners } } }',
    '{ learners(groupId: "GROUP") { totalCount edges { node { userId atRisk currentStreak } } } }',
    "{ itemDifficulty { totalCount edges { node { itemId accuracyRate lapses } } } }",
)


def list_all(begin: datetime) -> list[tuple[str, str]]:
    """Return pairs of a role and a query.

    The dates in the queries are relative to `begin`, the time of the first event.
    """
    texts = {
        "RANGE": f'from: "{begin.date()}", to: "{begin.date() + timedelta(days=90)}"',
        "SECOND_DAY": (begin + timedelta(days=1)).isoformat(),
        "ITEM": timeline.ITEMS[0],
        "GROUP": timeline.GROUPS[0],
    }
    return [
        (role, _fill_in(text, texts))
        for role, documents in (("learner", _LEARNER), ("teacher", _TEACHER))
        for text in documents
    ]


def _fill_in(text: str, texts: dict[str, str]) -> str:
    for name, value in texts.items():
        text = text.replace(name, value)
    return text
