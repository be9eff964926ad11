"""The leader's side of replication: what followers' fetches say, who lags, where a consumer had better read.

`cluster.partition` has the rules; here they meet the clock, the purgatory and the cluster's live brokers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import trio

from pykbroker.cluster.image import NO_EPOCH
from pykbroker.cluster.replication_quota import ReplicationQuota, is_named
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.server.clock import Clock
from pykbroker.server.isr_changes import IsrChanges
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.purgatory import Purgatory
from pykbroker.server.replica import Replica

RACK_AWARE_SELECTOR = "org.apache.kafka.common.replica.RackAwareReplicaSelector"


class Followers:
    """The followers of the partitions that this broker leads."""

    def __init__(self, metadata: MetadataCache, purgatory: Purgatory, clock: Clock, isr_changes: IsrChanges) -> None:
        self._metadata = metadata
        self._purgatory = purgatory
        self._clock = clock
        self._isr_changes = isr_changes
        self._broker_epochs: dict[int, int] = {}
        config = metadata.config
        windows, seconds = config.replication_quota_window_num, config.replication_quota_window_size_seconds
        self._sent, self._received = ReplicationQuota(windows, seconds), ReplicationQuota(windows, seconds)

    # ---- replication -----------------------------------------------------------------------------------------------

    def check_broker_epoch(self, broker_id: int, broker_epoch: int) -> None:
        """Refuses a broker's fetches from before its last registration that fetched here: NOT_LEADER_OR_FOLLOWER."""
        known = self._broker_epochs.get(broker_id, NO_EPOCH)
        if NO_EPOCH < broker_epoch < known:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self._broker_epochs[broker_id] = max(known, broker_epoch)

    def fetched(self, replica: Replica, broker_id: int, offset: int, log_start_offset: int) -> None:
        """A follower fetches from `offset` on: it has all below, on a log that begins at `log_start_offset`."""
        partition = replica.partition
        high_watermark_moved, start_moved = partition.follower_fetched(
            broker_id, offset, log_start_offset, replica.log.log_end_offset, self._clock.monotonic()
        )
        if high_watermark_moved or start_moved:
            self._purgatory.check(partition.topic_partition)
        if broker_id not in partition.isr and broker_id in self._metadata.image.brokers:
            proposal = partition.propose_expansion(broker_id)
            if proposal is not None:
                self._isr_changes.submit(partition, proposal)

    async def shrink_isrs(self, replicas: Callable[[], Iterable[Replica]]) -> None:
        """Looks for members that lag, as often as Kafka: they stay for 1 to 1.5 times `replica.lag.time.max.ms`."""
        while True:
            await trio.sleep(self._metadata.config.replica_lag_time_max_ms / 2000)
            now = self._clock.monotonic()
            for replica in list(replicas()):
                proposal = replica.partition.propose_shrinking(now) if replica.partition.followers else None
                if proposal is not None:
                    self._isr_changes.submit(replica.partition, proposal)

    # ---- throttled replicas (KIP-73) -------------------------------------------------------------------------------

    def must_not_send(self, replica: Replica, broker_id: int) -> bool:
        """Whether a follower that isn't in sync has to wait: `leader.replication.throttled.rate` is exceeded."""
        limit = self._metadata.config.leader_replication_throttled_rate
        return (
            broker_id not in replica.partition.isr
            and self._is_throttled_here(replica, replica.log.config.leader_replication_throttled_replicas)
            and self._sent.is_exceeded(limit, self._clock.monotonic())
        )

    def sent(self, replica: Replica, size: int) -> None:
        """So many bytes of a partition went to a follower."""
        if self._is_throttled_here(replica, replica.log.config.leader_replication_throttled_replicas):
            self._sent.record(size, self._clock.monotonic())

    def must_not_receive(self, replica: Replica) -> bool:
        """Whether a partition that is followed has to wait: `follower.replication.throttled.rate` is exceeded."""
        limit = self._metadata.config.follower_replication_throttled_rate
        return self._is_throttled_here(
            replica, replica.log.config.follower_replication_throttled_replicas
        ) and self._received.is_exceeded(limit, self._clock.monotonic())

    def received(self, replica: Replica, size: int) -> None:
        """So many bytes of a partition came from its leader."""
        if self._is_throttled_here(replica, replica.log.config.follower_replication_throttled_replicas):
            self._received.record(size, self._clock.monotonic())

    def _is_throttled_here(self, replica: Replica, entries: Sequence[str]) -> bool:
        if not entries:
            return False
        return is_named(entries, replica.partition.topic_partition.partition, replica.partition.node_id)

    # ---- consumers -------------------------------------------------------------------------------------------------

    @property
    def selects_by_rack(self) -> bool:
        """Whether consumers are sent to replicas in their own rack (`replica.selector.class`, KIP-392)."""
        return self._metadata.config.replica_selector_class == RACK_AWARE_SELECTOR

    def preferred_read_replica(self, replica: Replica, rack: str, offset: int) -> int | None:
        """The live replica that a consumer in a rack had better read from; None for this one."""
        if not replica.partition.is_leader:
            return None
        racks = {broker.id: broker.rack for broker in self._metadata.image.brokers.values()}
        return replica.partition.preferred_reader(racks, rack, offset)

    async def wait_for_low_watermark(self, replica: Replica, offset: int, timeout: float) -> int:
        """Waits until every live replica's log begins at `offset` or above; the low watermark then.

        Raises REQUEST_TIMED_OUT (the leader's records stay deleted), NOT_LEADER_OR_FOLLOWER.
        """
        partition, term = replica.partition, replica.partition.leading_since

        def low_watermark() -> int:
            return partition.low_watermark(replica.log.log_start_offset, self._metadata.image.brokers)

        def lost() -> bool:
            return not partition.is_leader or partition.leading_since != term

        await self._purgatory.wait_until(
            lambda: lost() or low_watermark() >= offset, [partition.topic_partition], timeout
        )
        if lost():
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        reached = low_watermark()
        if reached < offset:
            raise KafkaError(ErrorCode.REQUEST_TIMED_OUT)
        return reached
