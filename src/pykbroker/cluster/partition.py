"""One partition as this broker leads it: leader epoch, ISR, high watermark.

It decides up to where records count as committed and which leader epochs are stale. It never touches the log: the
shell tells it the log's end.
"""

from __future__ import annotations

from uuid import UUID

from pykbroker.cluster.image import PartitionState
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

NO_EPOCH = -1


class Partition:
    """The leader's view of a partition. Offsets are record offsets; the high watermark is the first uncommitted one."""

    __slots__ = (
        "high_watermark",
        "isr",
        "leader_epoch",
        "log_end_offset",
        "partition_epoch",
        "replicas",
        "topic_id",
        "topic_partition",
    )

    def __init__(
        self, topic_partition: TopicPartition, topic_id: UUID, high_watermark: int, log_end_offset: int
    ) -> None:
        self.topic_partition = topic_partition
        self.topic_id = topic_id
        self.leader_epoch = NO_EPOCH
        self.partition_epoch = NO_EPOCH
        self.isr: tuple[int, ...] = ()
        self.replicas: tuple[int, ...] = ()
        self.log_end_offset = log_end_offset
        self.high_watermark = min(high_watermark, log_end_offset)

    def become_leader(self, state: PartitionState) -> bool:
        """Takes a leadership decision over; False where it is not newer than what is known (a stale controller's)."""
        if state.leader_epoch <= self.leader_epoch:
            return False
        self.leader_epoch, self.partition_epoch = state.leader_epoch, state.partition_epoch
        self.isr, self.replicas = state.isr, state.replicas
        self._advance()
        return True

    def appended(self, log_end_offset: int) -> bool:
        """Takes note of the log's new end; True if the high watermark moved."""
        self.log_end_offset = log_end_offset
        return self._advance()

    def _advance(self) -> bool:
        """The high watermark is the smallest end among the ISR; with the leader alone in it, the leader's own."""
        if len(self.isr) > 1 or self.high_watermark == self.log_end_offset:
            return False
        self.high_watermark = self.log_end_offset
        return True

    def check_leader_epoch(self, current_leader_epoch: int) -> None:
        """Fences a client with another epoch in mind (KIP-320); -1 asks nothing.

        Raises FENCED_LEADER_EPOCH for an older one, UNKNOWN_LEADER_EPOCH for one that is not known here yet.
        """
        if current_leader_epoch in (NO_EPOCH, self.leader_epoch):
            return
        if current_leader_epoch < self.leader_epoch:
            raise KafkaError(ErrorCode.FENCED_LEADER_EPOCH)
        raise KafkaError(ErrorCode.UNKNOWN_LEADER_EPOCH)

    def check_min_insync(self, min_insync_replicas: int) -> None:
        """Refuses acks=all below `min.insync.replicas`, before anything is appended: NOT_ENOUGH_REPLICAS.

        More than there are replicas at all isn't asked for: a topic of one replica takes acks=all (KIP-966).
        """
        if len(self.isr) < min(min_insync_replicas, len(self.replicas)):
            raise KafkaError(ErrorCode.NOT_ENOUGH_REPLICAS)
