"""The transactions of this broker, as handlers ask for them: finds the shard of an id's partition and asks it.

It sees to it that what is decided gets its markers, however often that has to be tried. The rules are in
`coordinator.transaction`, waiting and appending in `coordinator_runtime`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import trio

from pykbroker.cluster.features import TRANSACTION_VERSION
from pykbroker.cluster.image import TRANSACTION_STATE_TOPIC
from pykbroker.coordinator.partitioning import partition_of
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.coordinator_runtime import CoordinatorRuntime, Hosted, client_error
from pykbroker.server.transaction_markers import Marker, TransactionMarkers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from pykbroker.config.broker import BrokerConfig
    from pykbroker.coordinator.transaction.shard import Producer, ProducerAnswer, TransactionFilter, TransactionShard
    from pykbroker.coordinator.transaction.transaction_state import Transaction
    from pykbroker.server.clock import Clock
    from pykbroker.server.disk import Disk
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.producer_ids import ProducerIds
    from pykbroker.server.replica_manager import ReplicaManager

log = logging.getLogger(__name__)

A = TypeVar("A")

FIRST_RETRY_S, MAX_RETRY_S = 0.02, 1.0
"""Between two attempts to have markers written."""
FATAL = frozenset((ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.TRANSACTION_COORDINATOR_FENCED))
"""Another coordinator, or a later transaction, was there first: this one's markers aren't wanted any more."""
NOT_NEEDED = frozenset((ErrorCode.NONE, ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT, ErrorCode.UNSUPPORTED_VERSION))
"""The partition needs no (further) marker."""


def _new_shard(config: BrokerConfig, transaction_version: Callable[[], int]) -> TransactionShard:
    from pykbroker.coordinator.transaction.shard import TransactionConfig, TransactionShard  # Rare: most have none.

    shard_config = TransactionConfig(
        config.transaction_abort_timed_out_transaction_cleanup_interval_ms,
        config.transaction_remove_expired_transaction_cleanup_interval_ms,
        config.transactional_id_expiration_ms,
    )
    return TransactionShard(shard_config, transaction_version)


class TransactionCoordinator:
    """The transactions of this broker. Every method raises KafkaError with Kafka's answer."""

    def __init__(
        self,
        *,
        config: BrokerConfig,
        clock: Clock,
        replica_manager: ReplicaManager,
        metadata: MetadataCache,
        disk: Disk,
        producer_ids: ProducerIds,
        markers: TransactionMarkers,
    ) -> None:
        self._config = config
        self._metadata = metadata
        self._producer_ids = producer_ids
        self._markers = markers
        self._runtime = CoordinatorRuntime(
            TRANSACTION_STATE_TOPIC,
            lambda: _new_shard(config, self._transaction_version),
            clock=clock,
            replica_manager=replica_manager,
            disk=disk,
            commit_timeout=config.request_timeout_ms / 1000,
            client_error=client_error,
            on_replayed=self._complete_decided,
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; started once timers run and loads are under way."""
        await self._runtime.run(task_status)

    def close(self) -> None:
        """The broker stops."""
        self._runtime.close()

    def partition_for(self, transactional_id: str) -> TopicPartition:
        """Where a transactional id's records are. The topic's own number of partitions counts, once it is there."""
        topic = self._metadata.topic(TRANSACTION_STATE_TOPIC)
        count = len(topic.partitions) if topic is not None else self._config.transaction_state_log_num_partitions
        return TopicPartition(TRANSACTION_STATE_TOPIC, partition_of(transactional_id, count))

    async def wait_loaded(self, transactional_id: str) -> bool:
        """Waits until the id's shard answers here; False if it doesn't in `request.timeout.ms`."""
        return await self._runtime.wait_loaded(self.partition_for(transactional_id).partition)

    # ---- requests --------------------------------------------------------------------------------------------------

    async def init_producer_id(
        self, transactional_id: str, timeout_ms: int, expected: Producer | None
    ) -> ProducerAnswer:
        """InitProducerId with a transactional id."""
        if not 0 < timeout_ms <= self._config.transaction_max_timeout_ms:
            raise KafkaError(ErrorCode.INVALID_TRANSACTION_TIMEOUT)
        fresh_id = None
        if self._find(transactional_id).shard.wants_producer_id(transactional_id):
            fresh_id = await self._producer_ids.next()
        return await self._runtime.ask(
            self._find(transactional_id),
            lambda shard, now: shard.init_producer_id(transactional_id, timeout_ms, expected, fresh_id, now),
        )

    async def add_partitions(
        self, transactional_id: str, producer: Producer, partitions: Collection[TopicPartition], version: int
    ) -> None:
        """AddPartitionsToTxn; `version` is the client's transaction.version."""
        await self._runtime.ask(
            self._find(transactional_id),
            lambda shard, now: shard.add_partitions(transactional_id, producer, partitions, version, now),
        )

    async def verify_partitions(
        self, transactional_id: str, producer: Producer, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, ErrorCode]:
        """AddPartitionsToTxn with verify-only: a code for each partition."""
        return await self._runtime.ask(
            self._find(transactional_id),
            lambda shard, now: shard.verify_partitions(transactional_id, producer, partitions),
        )

    async def end(self, transactional_id: str, producer: Producer, version: int, *, committed: bool) -> ProducerAnswer:
        """EndTxn; answered when the decision is committed, its markers follow."""
        fresh_id = None
        ends_epoch = version >= 2
        if ends_epoch and self._find(transactional_id).shard.wants_producer_id(transactional_id, ends=True):
            fresh_id = await self._producer_ids.next()
        return await self._runtime.ask(
            self._find(transactional_id),
            lambda shard, now: shard.end(transactional_id, producer, version, fresh_id, now, committed=committed),
        )

    async def describe(self, transactional_id: str) -> Transaction:
        """DescribeTransactions of one id."""
        if not transactional_id:
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        return await self._runtime.ask(
            self._find(transactional_id), lambda shard, now: shard.describe(transactional_id)
        )

    async def list_transactions(self, wanted: TransactionFilter) -> list[Transaction]:
        """ListTransactions of those ids whose coordinator is here."""
        found: list[Transaction] = []
        for hosted in self._runtime.hosted():
            listed = await self._runtime.ask(hosted, lambda shard, now: shard.list_transactions(wanted, now))
            found.extend(listed)
        return found

    def _find(self, transactional_id: str) -> Hosted[TransactionShard]:
        return self._runtime.find(self.partition_for(transactional_id).partition)

    def _transaction_version(self) -> int:
        return self._metadata.image.features.level(TRANSACTION_VERSION)

    # ---- markers ---------------------------------------------------------------------------------------------------

    def _complete_decided(self, hosted: Hosted[TransactionShard]) -> None:
        for transaction in hosted.shard.take_unfinished():
            self._runtime.start_soon(self._complete, hosted, transaction, hosted.written)

    async def _complete(self, hosted: Hosted[TransactionShard], transaction: Transaction, written: int) -> None:
        """Has a decided transaction's markers written, and then says so in the log. Ends with the shard."""
        delays = _delays()
        while not hosted.unloaded:
            try:
                await self._runtime.wait_committed(hosted, written)
                break
            except KafkaError as error:
                log.warning("%s isn't decided yet, as its record isn't committed: %s", transaction, error)
            await trio.sleep(next(delays))  # Some errors come without a wait: too small an ISR, for one.
        marker = Marker(
            transaction.producer_id,
            transaction.producer_epoch,
            transaction.commits,
            hosted.epoch,
            transaction.version,
        )
        if not await self._write_markers(hosted, marker, transaction.partitions):
            return
        fresh_id = await self._next_id(hosted) if transaction.used_up_by_fencing else None
        try:
            await self._runtime.ask(hosted, lambda shard, now: shard.complete(transaction, now, fresh_id))
        except KafkaError as error:  # Loaded anew, it is completed once more; or else it is written all the same.
            log.warning("can't write that transaction %s is complete: %s", transaction.transactional_id, error)

    async def _next_id(self, hosted: Hosted[TransactionShard]) -> int | None:
        """A producer id, however often that has to be tried; None once the shard has gone."""
        delays = _delays()
        while not hosted.unloaded:
            try:
                return await self._producer_ids.next()
            except KafkaError as error:
                log.warning("no producer id to go on with yet: %s", error)
                await trio.sleep(next(delays))
        return None

    async def _write_markers(
        self, hosted: Hosted[TransactionShard], marker: Marker, partitions: Collection[TopicPartition]
    ) -> bool:
        """Tries until every partition has its marker; False where none is wanted any more."""
        left: Sequence[TopicPartition] = list(partitions)
        delays = _delays()
        while left and not hosted.unloaded:
            codes = await self._markers.write(marker, left)
            for tp in left:
                if codes[tp] in FATAL:
                    log.warning("%s wants no marker of producer %d: %s", tp, marker.producer_id, codes[tp].name)
                    return False
            left = [tp for tp in left if codes[tp] not in NOT_NEEDED]
            if left:
                log.debug("%s have no marker of producer %d yet", left, marker.producer_id)
                await trio.sleep(next(delays))
        return not hosted.unloaded


def _delays() -> Iterator[float]:
    """Seconds to wait before each next try, ever longer."""
    wait = FIRST_RETRY_S
    while True:
        yield wait
        wait = min(2 * wait, MAX_RETRY_S)
