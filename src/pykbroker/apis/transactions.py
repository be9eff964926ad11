"""Transactions: what belongs to one, how it ends, and what is asked about them.

A handler fits versions to the coordinator's questions and answers; what a transaction does is decided in `coordinator`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pykbroker.coordinator.group.group import Committer
from pykbroker.coordinator.group.offsets import OffsetToCommit
from pykbroker.coordinator.group.topic_patterns import compiled
from pykbroker.coordinator.transaction.shard import Producer, TransactionFilter
from pykbroker.coordinator.transaction.transaction_state import Transaction, TransactionState
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.add_offsets_to_txn import AddOffsetsToTxnRequest, AddOffsetsToTxnResponse
from pykbroker.protocol.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTopicResult,
)
from pykbroker.protocol.messages.describe_transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
)
from pykbroker.protocol.messages.end_txn import EndTxnRequest, EndTxnResponse
from pykbroker.protocol.messages.list_transactions import ListTransactionsRequest, ListTransactionsResponse
from pykbroker.protocol.messages.txn_offset_commit import TxnOffsetCommitRequest, TxnOffsetCommitResponse
from pykbroker.protocol.messages.write_txn_markers import WriteTxnMarkersRequest, WriteTxnMarkersResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.coordinator_runtime import TransactionalProducer
from pykbroker.server.request import RequestContext, handles
from pykbroker.server.transaction_markers import Marker
from pykbroker.server.transaction_verifier import Operation

Codes = Mapping[TopicPartition, ErrorCode]
DescribedTransaction = DescribeTransactionsResponse.TransactionState
ListedTransaction = ListTransactionsResponse.TransactionState
OffsetTopic = TxnOffsetCommitResponse.Topic

FIRST_WITH_PRODUCER_FENCED = 2
FIRST_BATCHED_ADD_PARTITIONS = 4
FIRST_END_WITH_EPOCH = 5
FIRST_COMMIT_WITH_LOADING = 2
FIRST_COMMIT_WITH_ABORTABLE, FIRST_COMMIT_THAT_ADDS = 4, 5
EPOCH_PER_TRANSACTION = 2
"""The transaction.version of clients that use the newest requests (KIP-890)."""
STATES = frozenset(state.value for state in TransactionState) | {"PrepareEpochFence"}


@handles(AddPartitionsToTxnRequest, "0-5")
async def add_partitions_to_txn(
    request: AddPartitionsToTxnRequest, context: RequestContext
) -> AddPartitionsToTxnResponse:
    """AddPartitionsToTxn 0-5 (KIP-98): partitions that a transaction is going to write to; all of them or none.

    Clients use 0-3; from 4 on brokers add or, with `verify_only`, ask on behalf of producers (KIP-890).
    """
    if context.api_version >= FIRST_BATCHED_ADD_PARTITIONS:
        results = []
        for one in request.transactions:
            codes = await _added(
                one.transactional_id,
                Producer(one.producer_id, one.producer_epoch),
                one.topics,
                context,
                one.verify_only,
            )
            results.append(
                AddPartitionsToTxnResponse.ResultByTransaction(
                    transactional_id=one.transactional_id, topic_results=_results(one.topics, codes)
                )
            )
        return AddPartitionsToTxnResponse(results_by_transaction=results)
    producer = Producer(request.v3_and_below_producer_id, request.v3_and_below_producer_epoch)
    topics = request.v3_and_below_topics
    codes = await _added(request.v3_and_below_transactional_id, producer, topics, context, verify_only=False)
    return AddPartitionsToTxnResponse(results_by_topic_v3_and_below=_results(topics, codes))


async def _added(
    transactional_id: str,
    producer: Producer,
    topics: Iterable[AddPartitionsToTxnTopic],
    context: RequestContext,
    verify_only: bool,
) -> Codes:
    coordinator, metadata = context.services.transaction_coordinator, context.services.metadata
    wanted = [TopicPartition(topic.name, index) for topic in topics for index in topic.partitions]
    missing = {tp for tp in wanted if metadata.partition(tp) is None}
    if missing:
        return {
            tp: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if tp in missing else ErrorCode.OPERATION_NOT_ATTEMPTED
            for tp in wanted
        }
    try:
        if verify_only:
            return await coordinator.verify_partitions(transactional_id, producer, wanted)
        version = EPOCH_PER_TRANSACTION if context.api_version >= FIRST_BATCHED_ADD_PARTITIONS else 0
        await coordinator.add_partitions(transactional_id, producer, wanted, version)
    except KafkaError as error:
        return dict.fromkeys(wanted, _told(error.code, context))
    return dict.fromkeys(wanted, ErrorCode.NONE)


def _results(topics: Iterable[AddPartitionsToTxnTopic], codes: Codes) -> list[AddPartitionsToTxnTopicResult]:
    return [
        AddPartitionsToTxnResponse.TopicResult(
            name=topic.name,
            results_by_partition=[
                AddPartitionsToTxnResponse.ResultByPartition(
                    partition_index=index, partition_error_code=codes[TopicPartition(topic.name, index)]
                )
                for index in topic.partitions
            ],
        )
        for topic in topics
    ]


def _told(code: ErrorCode, context: RequestContext) -> ErrorCode:
    """Clients before version 2 of these requests don't know PRODUCER_FENCED (KIP-588)."""
    if code is ErrorCode.PRODUCER_FENCED and context.api_version < FIRST_WITH_PRODUCER_FENCED:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    return code


@handles(AddOffsetsToTxnRequest, "0-4")
async def add_offsets_to_txn(request: AddOffsetsToTxnRequest, context: RequestContext) -> AddOffsetsToTxnResponse:
    """AddOffsetsToTxn 0-4 (KIP-98): adds the group's partition of `__consumer_offsets`."""
    tp = context.services.group_coordinator.partition_for(request.group_id)
    producer = Producer(request.producer_id, request.producer_epoch)
    try:
        await context.services.transaction_coordinator.add_partitions(request.transactional_id, producer, [tp], 0)
    except KafkaError as error:
        return AddOffsetsToTxnResponse(error_code=_told(error.code, context))
    return AddOffsetsToTxnResponse()


@handles(EndTxnRequest, "0-5")
async def end_txn(request: EndTxnRequest, context: RequestContext) -> EndTxnResponse:
    """EndTxn 0-5 (KIP-98): commits or aborts; answered when that is sure, not when all markers are written.

    From 5 on the answer brings the epoch of the next transaction (KIP-890).
    """
    version = EPOCH_PER_TRANSACTION if context.api_version >= FIRST_END_WITH_EPOCH else 0
    try:
        answer = await context.services.transaction_coordinator.end(
            request.transactional_id,
            Producer(request.producer_id, request.producer_epoch),
            version,
            committed=request.committed,
        )
    except KafkaError as error:
        return EndTxnResponse(error_code=_told(error.code, context))
    return EndTxnResponse(error_code=answer.code, producer_id=answer.producer.id, producer_epoch=answer.producer.epoch)


@handles(WriteTxnMarkersRequest, "0-2")
async def write_txn_markers(request: WriteTxnMarkersRequest, context: RequestContext) -> WriteTxnMarkersResponse:
    """WriteTxnMarkers 0-2 (KIP-98), from other brokers: answered when the markers are committed.

    Version 2 says by which transaction.version a client works (KIP-1228).
    """
    response = WriteTxnMarkersResponse()
    for one in request.markers:
        marker = Marker(
            one.producer_id,
            one.producer_epoch,
            one.transaction_result,
            one.coordinator_epoch,
            one.transaction_version,
        )
        wanted = [TopicPartition(topic.name, index) for topic in one.topics for index in topic.partition_indexes]
        codes = await context.services.transaction_markers.write_here(marker, wanted)
        response.markers.append(
            WriteTxnMarkersResponse.Marker(
                producer_id=one.producer_id,
                topics=[
                    WriteTxnMarkersResponse.Marker.Topic(
                        name=topic.name,
                        partitions=[
                            WriteTxnMarkersResponse.Marker.Topic.Partition(
                                partition_index=index, error_code=codes[TopicPartition(topic.name, index)]
                            )
                            for index in topic.partition_indexes
                        ],
                    )
                    for topic in one.topics
                ],
            )
        )
    return response


@handles(TxnOffsetCommitRequest, "0-5")
async def txn_offset_commit(request: TxnOffsetCommitRequest, context: RequestContext) -> TxnOffsetCommitResponse:
    """TxnOffsetCommit 0-5 (KIP-98): offsets that count once the transaction is committed.

    From 3 on with the member's generation (KIP-447), 4 knows TRANSACTION_ABORTABLE, 5 adds the group to the transaction
    by itself (KIP-890).
    """
    offsets = {}
    for topic in request.topics:
        image = context.services.metadata.topic(topic.name)
        for asked in topic.partitions:
            if image is not None and asked.partition_index in image.partitions:
                offsets[TopicPartition(topic.name, asked.partition_index)] = OffsetToCommit(
                    asked.committed_offset, asked.committed_leader_epoch, asked.committed_metadata
                )
    codes: Codes = {}
    if offsets:
        try:
            codes = await _commit_pending(request, offsets, context)
        except KafkaError as error:
            codes = dict.fromkeys(offsets, _told_of_offsets(error.code, context))
    return TxnOffsetCommitResponse(
        topics=[
            OffsetTopic(
                name=topic.name,
                partitions=[
                    OffsetTopic.Partition(
                        partition_index=asked.partition_index,
                        error_code=codes.get(
                            TopicPartition(topic.name, asked.partition_index), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                        ),
                    )
                    for asked in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


async def _commit_pending(
    request: TxnOffsetCommitRequest, offsets: Mapping[TopicPartition, OffsetToCommit], context: RequestContext
) -> Codes:
    if not request.group_id:
        raise KafkaError(ErrorCode.INVALID_GROUP_ID)
    operation = Operation.VERIFY
    if context.api_version >= FIRST_COMMIT_THAT_ADDS:
        operation = Operation.ADD
    elif context.api_version >= FIRST_COMMIT_WITH_ABORTABLE:
        operation = Operation.VERIFY_ABORTABLE
    tp = context.services.group_coordinator.partition_for(request.group_id)
    producer = Producer(request.producer_id, request.producer_epoch)
    verifier = context.services.transaction_verifier
    admission = await verifier.admit(request.transactional_id, producer, {tp: -1}, operation)
    if tp in admission.errors:
        raise KafkaError(admission.errors[tp])
    return await context.services.group_coordinator.commit_pending(
        request.group_id,
        Committer(request.member_id, request.group_instance_id, request.generation_id),
        offsets,
        TransactionalProducer(producer.id, producer.epoch, admission.verifications[tp]),
    )


def _told_of_offsets(code: ErrorCode, context: RequestContext) -> ErrorCode:
    """A verification's or a log's code as clients of a group coordinator may hear it."""
    if code is ErrorCode.NETWORK_EXCEPTION:
        code = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    elif code in (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.KAFKA_STORAGE_ERROR):
        code = ErrorCode.NOT_COORDINATOR
    elif code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
        code = ErrorCode.COORDINATOR_NOT_AVAILABLE
    if code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS and context.api_version < FIRST_COMMIT_WITH_LOADING:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE  # KAFKA-7296: older producers give up at the other.
    return code


@handles(DescribeTransactionsRequest, "0")
async def describe_transactions(
    request: DescribeTransactionsRequest, context: RequestContext
) -> DescribeTransactionsResponse:
    """DescribeTransactions 0 (KIP-664)."""
    states = []
    for transactional_id in request.transactional_ids:
        try:
            found = await context.services.transaction_coordinator.describe(transactional_id)
        except KafkaError as error:
            states.append(DescribedTransaction(transactional_id=transactional_id, error_code=error.code))
        else:
            states.append(_described(found))
    return DescribeTransactionsResponse(transaction_states=states)


def _described(transaction: Transaction) -> DescribedTransaction:
    topics: dict[str, list[int]] = {}
    for tp in sorted(transaction.partitions):
        topics.setdefault(tp.topic, []).append(tp.partition)
    return DescribedTransaction(
        transactional_id=transaction.transactional_id,
        transaction_state=transaction.state.value,
        transaction_timeout_ms=transaction.timeout_ms,
        transaction_start_time_ms=transaction.start_ms,
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        topics=[DescribedTransaction.Topic(topic=name, partitions=found) for name, found in topics.items()],
    )


@handles(ListTransactionsRequest, "0-2")
async def list_transactions(request: ListTransactionsRequest, context: RequestContext) -> ListTransactionsResponse:
    """ListTransactions 0-2: those of this broker (KIP-664), in 1 by duration (KIP-994), in 2 by pattern (KIP-1152)."""
    wanted = TransactionFilter(
        frozenset(request.state_filters),
        frozenset(request.producer_id_filters),
        request.duration_filter,
        _matcher(request.transactional_id_pattern),
    )
    unknown = [name for name in dict.fromkeys(request.state_filters) if name not in STATES]
    found = await context.services.transaction_coordinator.list_transactions(wanted)
    return ListTransactionsResponse(
        unknown_state_filters=unknown,
        transaction_states=[
            ListedTransaction(
                transactional_id=one.transactional_id,
                producer_id=one.producer_id,
                transaction_state=one.state.value,
            )
            for one in found
        ],
    )


def _matcher(pattern: str | None) -> Callable[[str], bool] | None:
    if not pattern:
        return None
    fullmatch = compiled(pattern).fullmatch
    return lambda transactional_id: fullmatch(transactional_id) is not None
