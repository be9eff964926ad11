"""The stored state of a share-partition: how writes add up, and the names that keys have."""

from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykbroker.cluster.in_flight import StateBatch
from pykbroker.coordinator.share.state import ShareKey, ShareState, combined

A, B = (2, 1), (0, 2)


def batch(first: int, last: int, state: tuple[int, int] = A) -> StateBatch:
    return StateBatch(first, last, *state)


def test_batches_that_touch_and_are_alike_become_one() -> None:
    assert combined([batch(5, 9), batch(0, 4)], 0) == (batch(0, 9),)
    assert combined([batch(0, 6), batch(4, 9)], 0) == (batch(0, 9),)
    assert combined([batch(0, 3), batch(5, 9)], 0) == (batch(0, 3), batch(5, 9))


def test_more_deliveries_hold() -> None:
    assert combined([batch(0, 9), batch(3, 5, B)], 0) == (batch(0, 2), batch(3, 5, B), batch(6, 9))
    assert combined([batch(0, 9, B), batch(3, 12)], 0) == (batch(0, 9, B), batch(10, 12))
    assert combined([batch(0, 9), batch(0, 9, (4, 1))], 0) == (batch(0, 9, (4, 1)),)


def test_what_lies_below_the_start_is_left_out() -> None:
    assert combined([batch(0, 4), batch(5, 9, B)], 7) == (batch(7, 9, B),)
    assert combined([batch(0, 4)], -1) == (batch(0, 4),)


BATCHES = st.lists(
    st.builds(
        lambda first, size, state, count: StateBatch(first, first + size, state, count),
        st.integers(0, 20),
        st.integers(0, 8),
        st.sampled_from((0, 2, 4)),
        st.integers(1, 3),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(BATCHES, st.integers(-1, 12))
def test_every_offset_has_the_best_that_is_told_of_it(batches: list[StateBatch], start: int) -> None:
    expected: dict[int, tuple[int, int]] = {}
    for first, last, state, deliveries in batches:
        for offset in range(max(first, start), last + 1):
            expected[offset] = max(expected.get(offset, (0, -1)), (deliveries, state))
    result = combined(batches, start)
    found = {o: (b.deliveries, b.state) for b in result for o in range(b.first, b.last + 1)}
    assert found == expected
    for one, next_one in pairwise(result):
        assert one.last < next_one.first
        assert one.last + 1 < next_one.first or one[2:] != next_one[2:]


def test_a_write_changes_what_it_tells_of() -> None:
    state = ShareState(3, 1, 5, 0, 0, (batch(0, 9, B),), 10, 10)
    assert state.updated(-1, -1, 4, [batch(0, 4, (2, 2))]) == ShareState(
        3, 1, 5, 0, 4, (batch(0, 4, (2, 2)), batch(5, 9, B)), 10, 10
    )
    assert state.updated(6, 5, 0, []) == ShareState(3, 1, 6, 5, 0, (batch(5, 9, B),), 10, 10)


def test_a_key_has_the_name_that_find_coordinator_uses() -> None:
    key = ShareKey("a:b", UUID(int=1), 3)
    assert str(key) == "a:b:AAAAAAAAAAAAAAAAAAAAAQ:3"
    assert ShareKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "text", ["", "g", "g:AAAAAAAAAAAAAAAAAAAAAQ", " :AAAAAAAAAAAAAAAAAAAAAQ:1", "g:x:1", "g:AAAAAAAAAAAAAAAAAAAAAQ:x"]
)
def test_other_names_are_no_keys(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ShareKey.parse(text)
