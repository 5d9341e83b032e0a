"""The field `undelivered` shows administrators the number of undelivered messages in Pub/Sub."""

from typing import Any

from progress.local import ports
from tests.support import api, fake_monitoring

QUERY = "{ undelivered { subscription messages } }"


def test_only_administrators_get_the_cached_counts(postgres: str) -> None:
    requests: list[Any] = []
    counts = {"user-events-ingest-sub": [7], "progress-projection-sub": [0]}
    with (
        fake_monitoring.serve(counts, requests) as address,
        api.serve(postgres, pubsub_emulator_host=address) as query_api,
    ):
        for _ in range(2):
            assert query_api.data(QUERY, roles=["admin"]) == {
                "undelivered": [
                    {"subscription": "progress-projection-sub", "messages": 0},
                    {"subscription": "user-events-ingest-sub", "messages": 7},
                ]
            }
        assert len(requests) == 1
        for role in ("learner", "support"):
            answer = query_api.post(QUERY, roles=[role])
            assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]


def test_the_counts_are_null_if_monitoring_does_not_respond(postgres: str) -> None:
    nobody = f"127.0.0.1:{ports.reserve()}"
    with api.serve(postgres, pubsub_emulator_host=nobody) as query_api:
        assert query_api.data(QUERY, roles=["admin"]) == {"undelivered": None}
