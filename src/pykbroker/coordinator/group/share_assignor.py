"""Kafka's `simple` assignor for share groups: every partition is read, and members have about the same number of them.

More members than partitions share partitions, as evenly as that goes. What a member had it keeps, unless that is
too much, or too many have it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pykbroker.coordinator.group.assignment import NOTHING, Assignment, GroupSpec, TopicIdPartition


def simple(spec: GroupSpec) -> Mapping[str, Assignment]:
    """What each member shall have."""
    members = sorted(spec.members)
    if spec.is_homogeneous:
        everything = [
            TopicIdPartition(topic_id, index)
            for topic_id, indexes in sorted(spec.partitions.items())
            for index in sorted(indexes)
        ]
        before = {member_id: spec.members[member_id].assigned for member_id in members}
        return {member_id: frozenset(has) for member_id, has in shared(members, everything, before).items()}
    result: dict[str, Assignment] = dict.fromkeys(members, NOTHING)
    for topic_id, indexes in sorted(spec.partitions.items()):
        readers = [member_id for member_id in members if topic_id in spec.members[member_id].topics]
        partitions = [TopicIdPartition(topic_id, index) for index in sorted(indexes)]
        before = {member_id: spec.members[member_id].assigned for member_id in readers}
        for member_id, has in shared(readers, partitions, before).items():
            result[member_id] |= has
    return result


def shared(
    members: Sequence[str], partitions: Sequence[TopicIdPartition], before: Mapping[str, Collection[TopicIdPartition]]
) -> dict[str, set[TopicIdPartition]]:
    """Spreads partitions over members that may all read them."""
    if not members or not partitions:
        return {member_id: set() for member_id in members}
    sharing = -(-len(members) // len(partitions))
    total, count = sharing * len(partitions), len(members)
    wanted = {
        member_id: -(-total * (place + 1) // count) + (-total * place // count)
        for place, member_id in enumerate(members)
    }
    known = set(partitions)
    has = {member_id: set(sorted(known.intersection(before[member_id]))[: wanted[member_id]]) for member_id in members}
    readers: dict[TopicIdPartition, list[str]] = {partition: [] for partition in partitions}
    for member_id in members:
        for partition in sorted(has[member_id]):
            if len(readers[partition]) < sharing:
                readers[partition].append(member_id)
            else:
                has[member_id].remove(partition)
    _fill(readers, has, wanted, sharing)
    return has


def _fill(
    readers: Mapping[TopicIdPartition, list[str]],
    has: Mapping[str, set[TopicIdPartition]],
    wanted: Mapping[str, int],
    sharing: int,
) -> None:
    """Gives what too few read to members that have too little, in turn."""
    hungry = [member_id for member_id in has if len(has[member_id]) < wanted[member_id]]
    for partition, of_partition in readers.items():
        for member_id in list(hungry):
            if len(of_partition) >= sharing:
                break
            if partition in has[member_id]:
                continue
            has[member_id].add(partition)
            of_partition.append(member_id)
            hungry.remove(member_id)
            if len(has[member_id]) < wanted[member_id]:
                hungry.append(member_id)
