"""What an assignor is told and what it answers: members with their topics, and the partitions that each shall have.

Assignments are sets of partitions by topic id. The assignors themselves are in `assignors`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from pykbroker.cluster.image import ClusterImage


class TopicIdPartition(NamedTuple):
    """A partition by its topic's id: a topic made again under its name is another."""

    topic_id: UUID
    partition: int


Assignment = frozenset[TopicIdPartition]
NOTHING: Assignment = frozenset()


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """A member as an assignor sees it."""

    member_id: str
    instance_id: str | None
    rack_id: str | None
    topics: frozenset[UUID]
    """Those of its topics that exist."""
    assigned: Assignment
    """What it was to have so far."""


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """A group as an assignor sees it."""

    members: Mapping[str, MemberSpec]
    partitions: Mapping[UUID, Collection[int]]
    """The partitions to be assigned, of every topic that a member subscribes to."""

    @property
    def is_homogeneous(self) -> bool:
        """Whether all members subscribe to the same topics."""
        return len({member.topics for member in self.members.values()}) <= 1


Assignor = Callable[[GroupSpec], Mapping[str, Assignment]]
"""Answers what each member shall have; a member that is left out shall have nothing. Same input, same answer."""


def by_topic(partitions: Iterable[TopicIdPartition]) -> dict[UUID, list[int]]:
    """The same by topic, in order."""
    topics: dict[UUID, list[int]] = defaultdict(list)
    for topic_id, partition in sorted(partitions):
        topics[topic_id].append(partition)
    return topics


def topic_ids(topics: Iterable[str], image: ClusterImage) -> frozenset[UUID]:
    """The ids of those topics that exist."""
    return frozenset(image.topics[name].topic_id for name in topics if name in image.topics)


def metadata_hash(topics: Iterable[str], image: ClusterImage) -> int:
    """What is stored with a group's epoch to see later whether its topics have changed; 0 where none of them exists.

    Ids, names, partitions and their replicas' racks count, as in Kafka. The hash itself is another one than Kafka's: a
    group that moves between the two rebalances once.
    """
    digest = hashlib.blake2b(digest_size=8)
    racks = {broker.id: broker.rack for broker in image.brokers.values() if broker.rack is not None}
    found = False
    for name in sorted(topics):
        topic = image.topics.get(name)
        if topic is None:
            continue
        found = True
        digest.update(topic.topic_id.bytes + name.encode() + len(topic.partitions).to_bytes(4, "big"))
        if racks:
            for index, state in sorted(topic.partitions.items()):
                where = sorted({racks[replica] for replica in state.replicas if replica in racks})
                digest.update(repr((index, where)).encode())
    return int.from_bytes(digest.digest(), "big", signed=True) if found else 0
