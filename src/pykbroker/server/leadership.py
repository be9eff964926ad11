"""What a leadership decision is, who is told of it, and what replicates where another broker leads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol
from uuid import UUID

from pykbroker.cluster.image import PartitionState
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.replica import Replica

LeadershipCallback = Callable[[int, int], None]


class Listener(NamedTuple):
    """What an internal topic's coordinator wants to be told."""

    elected: LeadershipCallback
    resigned: LeadershipCallback
    reelected: LeadershipCallback


class LeaderState(NamedTuple):
    """A leadership decision for one partition, as LeaderAndIsr carries it."""

    topic_partition: TopicPartition
    topic_id: UUID
    state: PartitionState
    is_new: bool


class Fetchers(Protocol):
    """What replicates the partitions that other brokers lead: see `replica_fetcher`."""

    def follow(self, replica: Replica) -> None:
        """Fetches from the leader that the partition names, from now on."""
        ...

    async def release(self, tps: Iterable[TopicPartition]) -> None:
        """Stops fetching these; when it returns nothing touches their logs any more."""
        ...

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """Stops fetching these, as they can't be stored any more; doesn't wait."""
        ...
