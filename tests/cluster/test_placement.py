"""Kafka's spread of replicas."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykbroker.cluster.image import BrokerImage
from pykbroker.cluster.placement import alternate_racks, place, start_of


def brokers(*racks: str | None) -> list[BrokerImage]:
    return [BrokerImage(index, {}, rack) for index, rack in enumerate(racks)]


def test_leaders_in_turn_and_followers_shifted() -> None:
    """The layout that Kafka documents for five brokers, ten partitions, three replicas."""
    placed = place(brokers(*[None] * 5), 10, 3, start=0, shift=0)
    assert placed == {
        0: (0, 1, 2),
        1: (1, 2, 3),
        2: (2, 3, 4),
        3: (3, 4, 0),
        4: (4, 0, 1),
        5: (0, 2, 3),
        6: (1, 3, 4),
        7: (2, 4, 0),
        8: (3, 0, 1),
        9: (4, 1, 2),
    }


def test_racks_in_turn() -> None:
    """Kafka's documented example: brokers 0 to 5 in racks 1, 3, 3, 2, 2, 1 are taken as 0, 3, 1, 5, 4, 2."""
    racks = {0: "rack1", 1: "rack3", 2: "rack3", 3: "rack2", 4: "rack2", 5: "rack1"}
    assert alternate_racks(racks) == [0, 3, 1, 5, 4, 2]


def test_one_broker_holds_everything() -> None:
    assert place(brokers(None), 3, 1, start=7, shift=9) == {0: (0,), 1: (0,), 2: (0,)}


def test_partitions_that_are_added_go_on_where_the_topic_stopped() -> None:
    nodes = brokers(None, None, None)
    first = place(nodes, 4, 2, start=1, shift=0)
    assert start_of(nodes, first[0]) == 1
    assert place(nodes, 2, 2, start=1, shift=0, first=2)[2] == first[2]
    assert start_of(nodes, (9,)) == 0


@settings(deadline=None)
@given(st.data())
def test_replicas_are_distinct_and_spread(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    racks = data.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=count, max_size=count))
    with_racks = data.draw(st.booleans())
    nodes = brokers(*(racks if with_racks else [None] * count))
    factor = data.draw(st.integers(1, count))
    partitions = data.draw(st.integers(1, 20))
    placed = place(nodes, partitions, factor, start=data.draw(st.integers(0, 9)), shift=data.draw(st.integers(0, 9)))
    assert list(placed) == list(range(partitions))
    for replicas in placed.values():
        assert len(set(replicas)) == factor
        if with_racks:
            assert len({racks[node] for node in replicas}) == min(factor, len(set(racks)))
    leaders = Counter(replicas[0] for replicas in placed.values())
    assert max(leaders.values()) - min(leaders.get(node.id, 0) for node in nodes) <= 1


def test_a_cluster_with_an_unknown_rack_is_placed_without() -> None:
    nodes = [BrokerImage(0, {}, "a"), BrokerImage(1, {}, None), BrokerImage(2, {}, "a")]
    assert place(nodes, 1, 3, start=0, shift=0) == {0: (0, 1, 2)}


@pytest.mark.parametrize("start", [0, 1, 2])
def test_the_start_decides_the_first_leader(start: int) -> None:
    assert place(brokers(None, None, None), 1, 1, start=start, shift=0) == {0: (start,)}
