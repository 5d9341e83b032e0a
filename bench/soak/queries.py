"""Steady queries to two instances of the query function, one of which is killed now and then."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from string import Template

from bench.local_stack import LocalStack
from bench.soak import timeline
from bench.soak.plan import SoakPlan
from progress.local.ports import HOST

OK, NO_RESPONSE = "ok", "no response"  # outcomes

_THREADS_PER_INSTANCE = 2
_TIMEOUT_S = 30.0
_IDLE_S = 1.0  # the server closes a connection that is idle for 2 s
_LEARNER = (
    "{ userProgress { totalItemsLearned currentStreak accuracyRate } }",
    "{ dailyStats($RANGE, zeroFill: true) { date answers } restDays($RANGE) }",
    "{ itemStats(first: 50) { edges { node { itemId mastery estimatedRecall } } } }",
    "{ streak { current longest restToday } hourlyStats { hour answers accuracyRate } }",
    "{ levelStats { level itemsStudied progressRate masteredLast28Days expectedDate reached } }",
    "{ retention($RANGE, by: WEEK) { start young { asked rate } mature { asked rate } } }",
    "{ goal { answersToday daysMet7 week } workload { due overdue minutes } }",
    '{ itemHistory(itemId: "$ITEM") { reviews { at intervalDays } days { date answers } } }',
    '{ userProgress(asOf: "$SECOND_DAY") { totalItemsLearned } }',
)
_TEACHER = (
    '{ group(groupId: "$GROUP") { members activeLast7Days hardestItems { itemId learners } } }',
    '{ learners(groupId: "$GROUP") { totalCount edges { node { userId atRisk currentStreak } } } }',
    "{ itemDifficulty { totalCount edges { node { itemId accuracyRate lapses } } } }",
)


class Queries:
    """Threads that send queries; `outcomes` counts them by instance and outcome."""

    def __init__(self, local: LocalStack, plan: SoakPlan, instances: dict[str, int]) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._stack, self._plan = local, plan
        self._milliseconds: list[float] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, port, number), name=f"queries {name}")
            for name, port in instances.items()
            for number in range(_THREADS_PER_INSTANCE)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def pop_milliseconds(self) -> list[float]:
        """Return the milliseconds of the successful queries since the previous call."""
        with self._lock:
            milliseconds, self._milliseconds = self._milliseconds, []
        return milliseconds

    def _run(self, name: str, port: int, number: int) -> None:
        client = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
        interval = len(self._threads) / self._plan.queries
        ended = time.monotonic()
        due = ended + number * interval / _THREADS_PER_INSTANCE
        for body, headers in self._requests(number):
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            due = max(due + interval, time.monotonic() - 1.0)  # catch up on at most 1 s of queries
            began = time.monotonic()
            if began - ended > _IDLE_S:
                client.close()  # the server may otherwise close the connection during a request
            outcome = self._send(client, body, headers)
            ended = time.monotonic()
            with self._lock:
                self.outcomes[name, outcome] += 1
                if outcome == OK:
                    self._milliseconds.append(1_000 * (ended - began))
        client.close()

    def _requests(self, number: int) -> Iterator[tuple[bytes, dict[str, str]]]:
        tokens = {
            "learner": [self._stack.token(f"soak-{n}") for n in range(self._plan.learners)],
            "teacher": [self._stack.token("teacher", "teacher", groups=timeline.GROUPS)],
        }
        pairs, chance = list_documents(self._plan.begin), random.Random(number)
        while True:
            role, text = chance.choice(pairs)
            token = chance.choice(tokens[role])
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            yield json.dumps({"query": text}).encode(), headers

    def _send(
        self, client: http.client.HTTPConnection, body: bytes, headers: dict[str, str]
    ) -> str:
        """Send a query; return OK, a status, a GraphQL error code, or NO_RESPONSE with the reason.

        Like a browser, send the query again if the server has closed the idle connection.
        """
        try:
            try:
                client.request("POST", "/graphql", body, headers)
            except BrokenPipeError:
                client.close()
                client.request("POST", "/graphql", body, headers)
            response = client.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            client.close()
            return f"{NO_RESPONSE}: {type(error).__name__}"
        if response.status != http.HTTPStatus.OK:
            return str(response.status)
        errors = json.loads(content).get("errors")
        return str(errors[0]["extensions"]["code"]) if errors else OK


def list_documents(begin: datetime) -> list[tuple[str, str]]:
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
        (role, Template(text).substitute(texts))
        for role, documents in (("learner", _LEARNER), ("teacher", _TEACHER))
        for text in documents
    ]
