"""uniform and range: balanced, sticky or side by side, and the same for the same input."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from pykbroker.coordinator.group.assignment import Assignment, GroupSpec, MemberSpec, TopicIdPartition
from pykbroker.coordinator.group.assignors import range_, uniform

T, U, V = (UUID(int=number) for number in (1, 2, 3))


def spec(
    partitions: Mapping[UUID, int],
    members: Mapping[str, set[UUID]],
    assigned: Mapping[str, Assignment] | None = None,
    instances: Mapping[str, str] | None = None,
) -> GroupSpec:
    assigned, instances = assigned or {}, instances or {}
    return GroupSpec(
        {
            member_id: MemberSpec(
                member_id, instances.get(member_id), None, frozenset(topics), assigned.get(member_id, frozenset())
            )
            for member_id, topics in members.items()
        },
        {one: range(count) for one, count in partitions.items() if any(one in topics for topics in members.values())},
    )


def sizes(assigned: Mapping[str, Assignment]) -> list[int]:
    return sorted(map(len, assigned.values()))


def of(topic_id: UUID, *partitions: int) -> Assignment:
    return frozenset(TopicIdPartition(topic_id, one) for one in partitions)


def test_uniform_keeps_what_is_fair() -> None:
    first = uniform(spec({T: 6}, {"a": {T}, "b": {T}}))
    assert sizes(first) == [3, 3]
    second = uniform(spec({T: 6}, {"a": {T}, "b": {T}, "c": {T}}, first))
    assert sizes(second) == [2, 2, 2]
    assert all(second[member] < first[member] for member in ("a", "b"))
    third = uniform(spec({T: 6}, {"a": {T}, "c": {T}}, second))
    assert sizes(third) == [3, 3]
    assert second["a"] < third["a"]
    assert second["c"] < third["c"]


def test_uniform_leaves_an_odd_one_where_it_is() -> None:
    assigned = {"a": of(T, 0), "b": of(T, 1, 2)}
    assert uniform(spec({T: 3}, {"a": {T}, "b": {T}}, assigned)) == assigned


def test_uniform_with_different_subscriptions() -> None:
    assigned = uniform(spec({T: 4, U: 2, V: 2}, {"a": {T}, "b": {T, U}, "c": {U, V}}))
    assert sum(sizes(assigned)) == 8
    assert sizes(assigned) == [2, 3, 3]
    assert {tp.topic_id for tp in assigned["a"]} == {T}


def test_uniform_forgets_partitions_that_are_gone() -> None:
    assigned = uniform(spec({T: 2}, {"a": {T}, "b": {T}}, {"a": of(T, 0, 5) | of(U, 1), "b": of(T, 1)}))
    assert assigned == {"a": of(T, 0), "b": of(T, 1)}


def test_range_puts_the_same_partitions_together() -> None:
    assigned = range_(spec({T: 5, U: 5}, {"b": {T, U}, "a": {T, U}}))
    assert assigned == {"a": of(T, 0, 1, 2) | of(U, 0, 1, 2), "b": of(T, 3, 4) | of(U, 3, 4)}


def test_range_takes_static_members_first() -> None:
    assigned = range_(spec({T: 2}, {"a": {T}, "z": {T}}, instances={"z": "i"}))
    assert assigned == {"z": of(T, 0), "a": of(T, 1)}


def test_more_members_than_partitions() -> None:
    for assignor in (uniform, range_):
        assert sizes(assignor(spec({T: 1}, {"a": {T}, "b": {T}, "c": set()}))) == [0, 0, 1]
        assert assignor(spec({}, {})) == {}


topics = st.sampled_from([T, U, V])


@settings(max_examples=60, deadline=None)
@given(
    partitions=st.fixed_dictionaries({topic: st.integers(0, 9) for topic in (T, U, V)}),
    subscriptions=st.lists(st.sets(topics), min_size=1, max_size=6),
    changed=st.lists(st.sets(topics), min_size=1, max_size=6),
)
def test_whatever_the_subscriptions(
    partitions: dict[UUID, int], subscriptions: list[set[UUID]], changed: list[set[UUID]]
) -> None:
    for assignor in (uniform, range_):
        assigned: Mapping[str, Assignment] = {}
        for round_ in (subscriptions, changed):
            members = {f"m{index}": wanted for index, wanted in enumerate(round_)}
            group = spec(partitions, members, assigned)
            assigned = assignor(group)
            assert assignor(group) == assigned
            owned = [tp for mine in assigned.values() for tp in mine]
            read = frozenset().union(*members.values())
            assert len(owned) == len(set(owned)) == sum(partitions[topic] for topic in read)
            assert all(tp.topic_id in members[member] for member, mine in assigned.items() for tp in mine)
            if assignor is uniform:
                again = assignor(spec(partitions, members, assigned))
                assert again == assigned
                if group.is_homogeneous:
                    assert max(sizes(assigned)) - min(sizes(assigned)) <= 1
