"""Before a transaction's first records are written to a partition: asks its coordinator, here or elsewhere (KIP-890).

Old clients have added the partition before, which is verified; new ones have it added by the very request. Once a
transaction is under way in a partition nobody is asked.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import trio

from pykbroker.cluster.image import NO_LEADER
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.add_partitions_to_txn import AddPartitionsToTxnRequest
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.broker_channel import BrokerChannels, ChannelError
from pykbroker.storage.producer_state import NOT_REQUIRED, Verification

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pykbroker.config.broker import BrokerConfig
    from pykbroker.coordinator.transaction.shard import Producer
    from pykbroker.server.clock import Clock
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.replica_manager import ReplicaManager
    from pykbroker.server.transaction_coordinator import TransactionCoordinator

log = logging.getLogger(__name__)

PURPOSE = "transaction-verifier"
FIRST_BATCHED_VERSION = 4
VERSION_OF_ADDING_CLIENTS = 2
"""The transaction.version that clients work by whose requests add partitions by themselves."""


class Operation(Enum):
    """What a request's version lets the broker do, and its client understand."""

    VERIFY = "verify"
    VERIFY_ABORTABLE = "verify, and TRANSACTION_ABORTABLE is known"
    ADD = "add"


@dataclass(slots=True)
class Admission:
    """What came of it: errors of some partitions, and what the appends to the others have to hand in."""

    errors: dict[TopicPartition, ErrorCode] = field(default_factory=dict)
    verifications: dict[TopicPartition, Verification | None] = field(default_factory=dict)


class TransactionVerifier:
    """Asks transaction coordinators whether partitions belong to a transaction, or makes them."""

    def __init__(
        self,
        *,
        config: BrokerConfig,
        clock: Clock,
        replica_manager: ReplicaManager,
        metadata: MetadataCache,
        transactions: TransactionCoordinator,
        channels: BrokerChannels,
    ) -> None:
        self._config = config
        self._clock = clock
        self._replicas = replica_manager
        self._metadata = metadata
        self._transactions = transactions
        self._channels = channels

    async def admit(
        self, transactional_id: str, producer: Producer, sequences: Mapping[TopicPartition, int], operation: Operation
    ) -> Admission:
        """Whether records of a transaction may go to these partitions; `sequences`: the first one's in each."""
        admission = self._begin(producer, sequences, operation)
        unknown = [tp for tp, one in admission.verifications.items() if one not in (None, NOT_REQUIRED)]
        if not unknown:
            return admission
        backoff_s = self._config.add_partitions_to_txn_retry_backoff_ms / 1000
        patience_ms = min(self._config.add_partitions_to_txn_retry_backoff_max_ms, self._config.request_timeout_ms)
        deadline = self._clock.monotonic() + patience_ms / 1000
        while True:
            codes = await self._ask(transactional_id, producer, unknown, operation)
            # The client can't know that the markers of its last transaction are still being written.
            concurrent = ErrorCode.CONCURRENT_TRANSACTIONS in codes.values()
            if not concurrent or operation is not Operation.ADD or self._clock.monotonic() >= deadline:
                break
            await trio.sleep(backoff_s)
        for tp, code in codes.items():
            if code is not ErrorCode.NONE:
                admission.errors[tp] = _told(code, operation)
        return admission

    def _begin(self, producer: Producer, sequences: Mapping[TopicPartition, int], operation: Operation) -> Admission:
        admission = Admission()
        for tp, sequence in sequences.items():
            try:
                admission.verifications[tp] = self._replicas.start_verification(
                    tp, producer.id, producer.epoch, sequence, bumps_epoch=operation is Operation.ADD
                )
            except KafkaError as error:
                admission.errors[tp] = error.code
        return admission

    async def _ask(
        self, transactional_id: str, producer: Producer, partitions: Collection[TopicPartition], operation: Operation
    ) -> dict[TopicPartition, ErrorCode]:
        """The coordinator's answer for each partition."""
        try:
            state = self._metadata.partition(self._transactions.partition_for(transactional_id))
            if state is None or state.leader == NO_LEADER:
                raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
            if state.leader != self._config.node_id:
                return await self._ask_elsewhere(state.leader, transactional_id, producer, partitions, operation)
            if operation is not Operation.ADD:
                return await self._transactions.verify_partitions(transactional_id, producer, partitions)
            await self._transactions.add_partitions(transactional_id, producer, partitions, VERSION_OF_ADDING_CLIENTS)
            return dict.fromkeys(partitions, ErrorCode.NONE)
        except KafkaError as error:
            return dict.fromkeys(partitions, error.code)

    async def _ask_elsewhere(
        self,
        broker_id: int,
        transactional_id: str,
        producer: Producer,
        partitions: Collection[TopicPartition],
        operation: Operation,
    ) -> dict[TopicPartition, ErrorCode]:
        topics: dict[str, list[int]] = defaultdict(list)
        for tp in partitions:
            topics[tp.topic].append(tp.partition)
        transaction = AddPartitionsToTxnRequest.Transaction(
            transactional_id=transactional_id,
            producer_id=producer.id,
            producer_epoch=producer.epoch,
            verify_only=operation is not Operation.ADD,
            topics=[AddPartitionsToTxnRequest.Topic(name=name, partitions=found) for name, found in topics.items()],
        )
        request = AddPartitionsToTxnRequest(transactions=[transaction])
        try:
            channel = self._channels.channel(broker_id, PURPOSE)
            if await channel.version(AddPartitionsToTxnRequest) < FIRST_BATCHED_VERSION:
                return {}  # A broker that can't be asked: as before KIP-890.
            answer = await channel.request(request)
        except ChannelError as error:
            log.info("broker %d isn't reached as coordinator of %s: %s", broker_id, transactional_id, error)
            return dict.fromkeys(partitions, ErrorCode.NETWORK_EXCEPTION)
        if answer.error_code != ErrorCode.NONE:
            refused = answer.error_code == ErrorCode.CLUSTER_AUTHORIZATION_FAILED
            code = ErrorCode.INVALID_TXN_STATE if refused else ErrorCode(answer.error_code)
            return dict.fromkeys(partitions, code)
        return {
            TopicPartition(topic.name, one.partition_index): ErrorCode(one.partition_error_code)
            for result in answer.results_by_transaction
            for topic in result.topic_results
            for one in topic.results_by_partition
        }


def _told(code: ErrorCode, operation: Operation) -> ErrorCode:
    """What producers expect of a partition, where the coordinator has a code of its own."""
    if code is ErrorCode.PRODUCER_FENCED:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    if code is ErrorCode.TRANSACTION_ABORTABLE and operation is Operation.VERIFY:
        return ErrorCode.INVALID_TXN_STATE
    return code
