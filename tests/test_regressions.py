"""Faults that were found once, each by the smallest log that showed it."""

import lessons
import pytest
from conftest import Store
from stage import append, connect

from progress import batch, deadletters

NUMBERS = ("response_time_ms", "new_interval", "easiness_factor", "score", "duration_seconds")


@pytest.mark.parametrize("extra", ["good", "", 0.5, True, [1], {"a": 1}, 1e300])
def test_an_extra_field_with_another_types_name_is_kept_and_counts_nowhere(
    store: Store, extra: object
) -> None:
    told = [
        *lessons.lesson("ann", 1),
        lessons.word("i1"),
        lessons.envelope("SessionAbandoned", {"session_id": "ann-1"}, at=lessons.BEGIN),
        lessons.envelope("UserPreferencesChanged", {"user_id": "ann"}, at=lessons.BEGIN),
        lessons.envelope("NobodyDeclaredIt", {"user_id": "ann"}, at=lessons.BEGIN),
    ]
    for event in told:
        event["data"] = {**dict.fromkeys(NUMBERS, extra), **event["data"]}
    connection = connect(store.url)
    append(connection, told)
    batch.run(connection)
    assert not deadletters.list_letters(connection)
    assert not lessons.wrong(connection)
    connection.close()
