"""The simple assignor of share groups: everything is read, evenly, and nothing moves without a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from pykbroker.coordinator.group.assignment import NOTHING, Assignment, GroupSpec, MemberSpec, TopicIdPartition
from pykbroker.coordinator.group.share_assignor import simple


def spec(
    subscriptions: Mapping[str, frozenset[int]], partitions: Mapping[int, int], before: Mapping[str, Assignment]
) -> GroupSpec:
    members = {
        name: MemberSpec(name, None, None, frozenset(UUID(int=topic) for topic in topics), before.get(name, NOTHING))
        for name, topics in subscriptions.items()
    }
    return GroupSpec(members, {UUID(int=topic): range(count) for topic, count in partitions.items()})


def sizes(assigned: Mapping[str, Assignment]) -> list[int]:
    return sorted(len(has) for has in assigned.values())


ONE = frozenset((1,))


def test_partitions_are_spread() -> None:
    assert sizes(simple(spec({"a": ONE, "b": ONE}, {1: 5}, {}))) == [2, 3]


def test_members_share_where_there_are_more_of_them() -> None:
    assigned = simple(spec(dict.fromkeys("abcde", ONE), {1: 2}, {}))
    readers = Counter(partition for has in assigned.values() for partition in has)
    assert sorted(readers.values()) == [3, 3]
    assert sizes(assigned) == [1, 1, 1, 1, 2]


def test_without_partitions_or_members_there_is_nothing() -> None:
    assert simple(spec({"a": ONE}, {1: 0}, {})) == {"a": NOTHING}
    assert simple(spec({}, {1: 3}, {})) == {}


def test_what_a_member_had_it_keeps() -> None:
    first = simple(spec({"a": ONE, "b": ONE}, {1: 4}, {}))
    assert simple(spec({"a": ONE, "b": ONE}, {1: 4}, first)) == first
    third = simple(spec({"a": ONE, "b": ONE, "c": ONE}, {1: 4}, first))
    assert third["a"] <= first["a"]
    assert third["b"] <= first["b"]


TOPICS = st.dictionaries(st.integers(1, 3), st.integers(1, 6), min_size=1)
NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


@settings(deadline=None)
@given(st.data(), NAMES, TOPICS)
def test_everything_is_read_by_those_who_want_it(data: st.DataObject, names: list[str], topics: dict[int, int]) -> None:
    subsets = st.frozensets(st.sampled_from(sorted(topics)))
    before: Mapping[str, Assignment] = {}
    for _ in range(3):
        present = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        alike = data.draw(st.booleans())
        every = data.draw(subsets)
        subscriptions = {name: every if alike else data.draw(subsets) for name in present}
        wanted = {topic: count for topic, count in topics.items() if any(topic in s for s in subscriptions.values())}
        assigned = simple(spec(subscriptions, wanted, before))
        assert set(assigned) == set(present)
        readers = Counter(partition for has in assigned.values() for partition in has)
        assert set(readers) == {TopicIdPartition(UUID(int=t), i) for t, count in wanted.items() for i in range(count)}
        for name, has in assigned.items():
            assert {partition.topic_id.int for partition in has} <= subscriptions[name]
        if alike and every:
            assert max(sizes(assigned)) - min(sizes(assigned)) <= 1
            assert max(readers.values()) - min(readers.values()) <= 1
        before = assigned
