"""Times come back from PostgreSQL as they were written."""

from contextlib import closing
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres import database
from tests.conftest import Store


@given(times=st.lists(st.datetimes(timezones=st.just(UTC)), max_size=50))
def test_a_time_comes_back_with_its_microseconds_and_in_utc(
    store: Store, times: list[datetime]
) -> None:
    with closing(database.connect(store.url)) as connection:
        found = [connection.run("SELECT CAST(:at AS timestamptz)", at=at)[0][0] for at in times]
    assert found == times
    assert all(at.tzinfo is UTC for at in found)


def test_a_time_that_python_does_not_have_is_a_text(store: Store) -> None:
    for text in ["infinity", "-infinity", "0044-03-15 12:00:00+00 BC"]:
        with closing(database.connect(store.url)) as connection:
            assert connection.run("SELECT CAST(:at AS timestamptz)", at=text) == [[text]]
