"""The number of rows in a chunk depends on how long the previous chunk took."""

from hypothesis import given
from hypothesis import strategies as st

from progress.operations import erase_user


@given(
    largest=st.integers(1, 10_000),
    per_second=st.floats(1, 1e9),
    first=st.integers(1, 10_000),
)
def test_chunks_grow_or_shrink_until_each_takes_a_quarter_of_a_second(
    largest: int, per_second: float, first: int
) -> None:
    """`per_second` is the number of rows that are processed in a second."""
    size = min(first, largest)
    for _ in range(30):
        before, size = size, erase_user.adapt_size(size, size / per_second, largest)
        assert 1 <= size <= min(largest, 2 * before)
    ideal = max(1, min(largest, int(per_second / 4)))
    assert abs(size - ideal) <= max(1, ideal // 10)


def test_a_slow_chunk_is_followed_by_a_smaller_one() -> None:
    assert erase_user.adapt_size(1_000, 1.0, 5_000) == 250
    assert erase_user.adapt_size(1_000, 0.0, 5_000) == 2_000
    assert erase_user.adapt_size(1, 60.0, 5_000) == 1
