"""Produce: record batches from clients into the logs of the partitions led here."""

from __future__ import annotations

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.produce import ProduceRequest, ProduceResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.request import CloseConnection, RequestContext, handles
from pykbroker.storage.log import InvalidRecords

PartitionResponse = ProduceResponse.Response.PartitionResponse

FIRST_WITH_STORAGE_ERROR = 4
FIRST_WITH_TOPIC_IDS = 13
TELL_LOG_START = frozenset(
    (
        ErrorCode.INVALID_RECORD,
        ErrorCode.INVALID_TIMESTAMP,
        ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.INVALID_PRODUCER_EPOCH,
        ErrorCode.INVALID_TXN_STATE,
    )
)
"""With these errors Kafka answers the log's start too: the batch got as far as the log."""
ADMIN_CLIENT_ID = "__admin_client"
"""Kafka lets this client id alone write to internal topics."""


@handles(ProduceRequest, "0-13")
async def produce(request: ProduceRequest, context: RequestContext) -> ProduceResponse | None:
    """Produce 0-13: appends, then waits for the ISR where acks=all.

    acks=0 gets no answer at all. Versions 0-2 carry message sets of the old formats, which are stored converted
    (KIP-724); from 3 on each partition brings exactly one batch (KIP-98). 13 names topics by id (KIP-516).
    """
    services, responses = context.services, []
    pending: list[tuple[PartitionResponse, TopicPartition, int]] = []
    for topic_data in request.topic_data:
        name, missing = _topic_name(topic_data, context)
        response = ProduceResponse.Response(name=topic_data.name, topic_id=topic_data.topic_id)
        for data in topic_data.partition_data:
            tp = TopicPartition(name, data.index)
            answer = PartitionResponse(index=data.index, error_code=missing, base_offset=-1)
            if missing == ErrorCode.NONE:
                last_offset = _append(tp, data.records, request, context, answer)
                if last_offset >= 0:
                    pending.append((answer, tp, last_offset + 1))
            response.partition_responses.append(answer)
        responses.append(response)
    for answer, tp, offset in pending:
        try:
            if request.acks == -1:
                await services.replica_manager.wait_for_high_watermark(tp, offset, request.timeout_ms / 1000)
            else:
                await services.replica_manager.wait_for_flush(tp)
        except KafkaError as error:
            _fill_error(answer, error, context.api_version)
    if request.acks == 0:
        _refuse_silence(responses)
        return None
    return ProduceResponse(responses=responses)


def _topic_name(topic_data: ProduceRequest.TopicData, context: RequestContext) -> tuple[str, ErrorCode]:
    if context.api_version < FIRST_WITH_TOPIC_IDS:
        return topic_data.name, ErrorCode.NONE
    name = context.services.metadata.topic_name(topic_data.topic_id)
    if name is None or topic_data.topic_id == ZERO_UUID:
        return "", ErrorCode.UNKNOWN_TOPIC_ID
    return name, ErrorCode.NONE


def _append(
    tp: TopicPartition,
    records: memoryview | None,
    request: ProduceRequest,
    context: RequestContext,
    answer: PartitionResponse,
) -> int:
    """Appends one partition's records and fills its answer in; the last offset, or -1 after an error."""
    try:
        if request.acks not in (-1, 0, 1):
            raise KafkaError(ErrorCode.INVALID_REQUIRED_ACKS)
        if context.services.metadata.is_internal(tp.topic) and context.client_id != ADMIN_CLIENT_ID:
            raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Cannot append to internal topic {tp.topic}")
        if records is None:
            raise KafkaError(ErrorCode.INVALID_RECORD, "null records")
        info = context.services.replica_manager.append(
            tp, records, acks=request.acks, request_version=context.api_version
        )
    except KafkaError as error:
        _fill_error(answer, error, context.api_version)
        log = context.services.replica_manager.log(tp)
        if log is not None and error.code in TELL_LOG_START:
            answer.log_start_offset = log.log_start_offset
        return -1
    answer.base_offset = info.first_offset
    answer.log_append_time_ms = info.log_append_time
    answer.log_start_offset = info.log_start_offset
    return info.last_offset


def _fill_error(answer: PartitionResponse, error: KafkaError, version: int) -> None:
    answer.error_code = error.code
    if error.code is ErrorCode.KAFKA_STORAGE_ERROR and version < FIRST_WITH_STORAGE_ERROR:
        answer.error_code = ErrorCode.NOT_LEADER_OR_FOLLOWER  # Older clients wouldn't retry what they don't know.
    answer.error_message = error.message
    if isinstance(error, InvalidRecords):
        answer.record_errors = [
            PartitionResponse.RecordError(batch_index=index, batch_index_error_message=message)
            for index, message in error.record_errors
        ]


def _refuse_silence(responses: list[ProduceResponse.Response]) -> None:
    """acks=0 has no answer to put an error in: Kafka closes the connection, so that the client looks again."""
    for response in responses:
        for answer in response.partition_responses:
            if answer.error_code != ErrorCode.NONE:
                tp = TopicPartition(response.name, answer.index)
                raise CloseConnection(f"acks=0 to {tp} failed with {ErrorCode(answer.error_code).name}")
