"""Where the replicas of new partitions go: Kafka's spread over brokers and, where all racks are known, over racks.

Start and shift are the caller's randomness. It never looks at load or at disks, as Kafka doesn't.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pykbroker.cluster.image import BrokerImage


def place(
    brokers: Collection[BrokerImage], count: int, replication_factor: int, *, start: int, shift: int, first: int = 0
) -> dict[int, tuple[int, ...]]:
    """Partition → replicas, the preferred leader first, for `count` partitions from index `first` on.

    `replication_factor` must not exceed the number of brokers. `start` and `shift` are any numbers from 0 on.
    """
    racks = {broker.id: broker.rack for broker in brokers}
    known = {broker: rack for broker, rack in racks.items() if rack is not None}
    if len(known) == len(racks) and len(set(known.values())) > 1:
        return _place_by_rack(known, count, replication_factor, start, shift, first)
    ids = sorted(racks)
    placed: dict[int, tuple[int, ...]] = {}
    for partition in range(first, first + count):
        if partition and partition % len(ids) == 0:
            shift += 1
        leader = (partition + start) % len(ids)
        others = (_further(leader, shift, j, len(ids)) for j in range(replication_factor - 1))
        placed[partition] = (ids[leader], *(ids[index] for index in others))
    return placed


def alternate_racks(racks: Mapping[int, str]) -> list[int]:
    """Brokers in turns of racks, so that neighbours in the list stand in different racks where possible."""
    members: dict[str, list[int]] = {}
    for broker in sorted(racks):
        members.setdefault(racks[broker], []).append(broker)
    queues = [members[rack] for rack in sorted(members)]
    longest = max(len(queue) for queue in queues)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


def start_of(brokers: Collection[BrokerImage], replicas: Sequence[int]) -> int:
    """The start for partitions that are added to a topic: the place of its partition 0's first replica."""
    ids = sorted(broker.id for broker in brokers)
    return ids.index(replicas[0]) if replicas and replicas[0] in ids else 0


def _further(leader: int, shift: int, j: int, brokers: int) -> int:
    return (leader + 1 + (shift + j) % (brokers - 1)) % brokers


def _place_by_rack(
    racks: Mapping[int, str], count: int, replication_factor: int, start: int, shift: int, first: int
) -> dict[int, tuple[int, ...]]:
    ids = alternate_racks(racks)
    rack_count = len(set(racks.values()))
    placed: dict[int, tuple[int, ...]] = {}
    for partition in range(first, first + count):
        if partition and partition % len(ids) == 0:
            shift += 1
        leader = (partition + start) % len(ids)
        replicas = [ids[leader]]
        used = {racks[ids[leader]]}
        j = 0
        while len(replicas) < replication_factor:
            broker = ids[_further(leader, shift * rack_count, j, len(ids))]
            j += 1
            if broker not in replicas and (racks[broker] not in used or len(used) == rack_count):
                replicas.append(broker)
                used.add(racks[broker])
        placed[partition] = tuple(replicas)
    return placed
