"""InitProducerId: ids for idempotent and transactional producers. DescribeProducers: who writes to a partition."""

from __future__ import annotations

from pykbroker.controller.topics import invalid_name
from pykbroker.coordinator.transaction.shard import Producer
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.describe_producers import DescribeProducersRequest, DescribeProducersResponse
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.request import RequestContext, handles

DescribedPartition = DescribeProducersResponse.Topic.Partition

FIRST_WITH_PRODUCER_FENCED = 4
NONE = -1


@handles(InitProducerIdRequest, "0-5")
async def init_producer_id(request: InitProducerIdRequest, context: RequestContext) -> InitProducerIdResponse:
    """InitProducerId 0-5 (KIP-98): a fresh id at epoch 0 or, with a transactional id, the next epoch of its producer.

    From 3 on a producer may go on after an error (KIP-360); 4 knows PRODUCER_FENCED (KIP-588). Version 6 is unstable in
    Kafka 4.3 and not advertised there either.
    """
    if (request.producer_id == NONE) != (request.producer_epoch == NONE) or request.transactional_id == "":
        return _refusal(ErrorCode.INVALID_REQUEST)
    expected = None if request.producer_id == NONE else Producer(request.producer_id, request.producer_epoch)
    try:
        if request.transactional_id is None:
            return InitProducerIdResponse(producer_id=await context.services.producer_ids.next())
        answer = await context.services.transaction_coordinator.init_producer_id(
            request.transactional_id, request.transaction_timeout_ms, expected
        )
    except KafkaError as error:
        fenced = error.code is ErrorCode.PRODUCER_FENCED and context.api_version < FIRST_WITH_PRODUCER_FENCED
        return _refusal(ErrorCode.INVALID_PRODUCER_EPOCH if fenced else error.code)
    return InitProducerIdResponse(
        error_code=answer.code, producer_id=answer.producer.id, producer_epoch=answer.producer.epoch
    )


def _refusal(code: ErrorCode) -> InitProducerIdResponse:
    return InitProducerIdResponse(error_code=code, producer_id=NONE, producer_epoch=NONE)


@handles(DescribeProducersRequest, "0")
async def describe_producers(request: DescribeProducersRequest, context: RequestContext) -> DescribeProducersResponse:
    """DescribeProducers 0 (KIP-664): whoever has written with a producer id and isn't forgotten yet."""
    return DescribeProducersResponse(
        topics=[
            DescribeProducersResponse.Topic(
                name=topic.name,
                partitions=[
                    _described(TopicPartition(topic.name, index), context) for index in topic.partition_indexes
                ],
            )
            for topic in request.topics
        ]
    )


def _described(tp: TopicPartition, context: RequestContext) -> DescribedPartition:
    wrong = invalid_name(tp.topic)
    if wrong is not None:
        code = ErrorCode.INVALID_TOPIC_EXCEPTION
        return DescribedPartition(partition_index=tp.partition, error_code=code, error_message=wrong)
    try:
        entries = context.services.replica_manager.leader(tp).log.active_producers()
    except KafkaError as error:
        return DescribedPartition(partition_index=tp.partition, error_code=error.code, error_message=error.message)
    return DescribedPartition(
        partition_index=tp.partition,
        active_producers=[
            DescribedPartition.ActiveProducer(
                producer_id=entry.producer_id,
                producer_epoch=entry.epoch,
                last_sequence=entry.last_sequence,
                last_timestamp=entry.last_timestamp,
                coordinator_epoch=entry.coordinator_epoch,
                current_txn_start_offset=NONE
                if entry.current_txn_first_offset is None
                else entry.current_txn_first_offset,
            )
            for entry in entries
        ],
    )
