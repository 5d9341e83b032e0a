"""The keys about a learner are found by the learner's whole id; only these are deleted."""

import contextlib
from collections.abc import Callable
from typing import Any

import redis
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.redis import blocking_client, commands

# Ids that are prefixes, parts and patterns of each other's keys.
IDS = st.sampled_from(
    ["7", "77", "7:7", ":7", "learner", "learner:7", "summary", "a:b", "*", "[7]", "catalogue", ""]
) | st.text(min_size=1, max_size=200).filter(lambda text: text.isprintable())
KEYS: list[Callable[[str], str]] = [
    commands.summary_key,
    lambda user_id: commands.query_key("streak", user_id, "f00"),
    lambda user_id: commands.period_key("week", "2024-04-01", user_id),
    lambda user_id: commands.rate_key(user_id, 28_000_000),
    lambda user_id: commands.learner_version_key("progress_1", user_id),
]
SHARED = ["apq:7", "version:progress_1:catalogue", "version:progress_1:batch", "7", "summary", ""]


@given(user_id=IDS)
def test_a_key_names_exactly_its_learner(user_id: str) -> None:
    assert [commands.find_learner(key(user_id)) for key in KEYS] == [user_id] * len(KEYS)


def test_a_key_that_learners_share_names_no_learner() -> None:
    assert [commands.find_learner(key) for key in SHARED] == [None] * len(SHARED)


@given(ids=st.lists(IDS, unique=True, min_size=2, max_size=8))
def test_only_the_keys_of_the_learner_are_deleted(valkey: str, ids: list[str]) -> None:
    erased, *others = ids
    client: Any
    with contextlib.closing(redis.Redis.from_url(valkey)) as client:
        client.flushall()
        for key in [*SHARED[:-1], *(key(user_id) for key in KEYS for user_id in ids)]:
            client.set(key, erased)
        deleted = blocking_client.delete_keys(valkey, erased, lambda: None)
        left = {key.decode() for key in client.scan_iter()}
    assert left == {*SHARED[:-1], *(key(user_id) for key in KEYS for user_id in others)}
    assert deleted == len(KEYS)
