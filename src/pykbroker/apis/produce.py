"""Produce: record batches from clients into the logs of the partitions led here."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.produce import ProduceRequest, ProduceResponse
from pykbroker.protocol.records.batch import (
    ATTRIBUTES_AT,
    CODEC_MASK,
    HEADER_SIZE,
    LOG_OVERHEAD,
    MIN_BATCH_LENGTH,
    MIN_SCAN,
    PRODUCER_AT,
    TRANSACTIONAL_BIT,
    batches,
)
from pykbroker.protocol.records.compression import Compression
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.leader_hints import name_leader
from pykbroker.server.request import CloseConnection, RequestContext, handles
from pykbroker.server.transaction_verifier import Admission, Operation
from pykbroker.storage.log import AppendInfo, InvalidRecords
from pykbroker.storage.producer_state import NOT_REQUIRED, Verification

if TYPE_CHECKING:
    from pykbroker.coordinator.transaction.shard import Producer

PartitionResponse = ProduceResponse.Response.PartitionResponse

FIRST_WITH_MAGIC_2 = 3
FIRST_WITH_STORAGE_ERROR = 4
FIRST_WITH_LEADERS = 10
FIRST_WITH_TOPIC_IDS = 13
FIRST_WITH_ZSTD = 7
FIRST_WITH_ABORTABLE = 11
FIRST_THAT_ADDS_PARTITIONS = 12
ACKS = (-1, 0, 1)
RETRIABLE_BY_OTHER_NAME = frozenset(
    (
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
    )
)
"""Of a coordinator that couldn't be asked; not all clients try again at these."""
ADMIN_CLIENT_ID = "__admin_client"
"""Kafka lets this client id alone write to internal topics."""
WITHOUT_LOG_START = (
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.MESSAGE_TOO_LARGE,
    ErrorCode.RECORD_LIST_TOO_LARGE,
    ErrorCode.CORRUPT_MESSAGE,
    ErrorCode.KAFKA_STORAGE_ERROR,
)
"""Errors of an append beside which Kafka answers log start offset -1; beside the others it names the log's."""
_PRODUCER = struct.Struct(">qhi")
_LENGTH_AND_MAGIC = struct.Struct(">8xi4xb")
_Appended = tuple[PartitionResponse, TopicPartition, int, int]
"""An answer to complete once everything below an offset is committed, and the leader epoch of the append."""


@handles(ProduceRequest, "0-13")
async def produce(request: ProduceRequest, context: RequestContext) -> ProduceResponse | None:
    """Produce 0-13: appends, then waits for the ISR where acks=all.

    acks=0 gets no answer at all. Versions 0-2 carry message sets of the old formats, which are stored converted
    (KIP-724); from 3 on each partition brings exactly one batch (KIP-98). From 10 on the leader to go to is named
    (KIP-951); 13 names topics by id (KIP-516). A partition named twice gets both, where Kafka keeps one. Of a
    transaction the coordinator is asked before its first records are written; in 12 that adds the partition (KIP-890).
    """
    response = ProduceResponse()
    appended: list[_Appended] = []
    moved: list[tuple[PartitionResponse, TopicPartition]] = []
    admission: Admission | None = None
    refusal = ErrorCode.NONE
    try:
        if request.transactional_id is not None:
            admission = await _admit(request.transactional_id, request, context)
        elif _is_transactional(request):
            refusal = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    except KafkaError as error:
        refusal = error.code
    for topic_data in request.topic_data:
        name, missing = _topic_name(topic_data, context)
        missing = refusal or missing
        answers = []
        for data in topic_data.partition_data:
            tp = TopicPartition(name, data.index)
            answer = PartitionResponse(index=data.index, error_code=missing, base_offset=-1)
            answers.append(answer)
            if missing == ErrorCode.NONE:
                info = _append(tp, data.records, request, context, answer, admission)
                if info is not None:
                    epoch = context.services.replica_manager.leader(tp).partition.leader_epoch
                    appended.append((answer, tp, info.last_offset + 1, epoch))
                elif answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER:
                    moved.append((answer, tp))
        if answers:
            response.responses.append(
                ProduceResponse.Response(
                    name=topic_data.name, topic_id=topic_data.topic_id, partition_responses=answers
                )
            )
    moved += await _wait(appended, request, context)
    if request.acks == 0:
        _refuse_silence(response)
        return None
    if context.api_version >= FIRST_WITH_LEADERS:
        for answer, tp in moved:
            name_leader(response, answer, tp, context)
    return response


def _transactional_batches(
    request: ProduceRequest, context: RequestContext
) -> dict[TopicPartition, tuple[Producer, int]]:
    """Whose transactional records come for which partition, and the first sequence."""
    from pykbroker.coordinator.transaction.shard import Producer

    found = {}
    for topic_data in request.topic_data:
        name, missing = _topic_name(topic_data, context)
        for data in topic_data.partition_data:
            records = data.records
            if missing == ErrorCode.NONE and records is not None and _has_transaction_bit(records):
                producer_id, epoch, sequence = _PRODUCER.unpack_from(records, PRODUCER_AT)
                found[TopicPartition(name, data.index)] = Producer(producer_id, epoch), sequence
    return found


async def _admit(transactional_id: str, request: ProduceRequest, context: RequestContext) -> Admission | None:
    """Has the coordinator asked about partitions that the transaction isn't known to be under way in (KIP-890).

    None where nothing is transactional. Raises INVALID_PRODUCER_ID_MAPPING where there is more than one producer.
    """
    batches = _transactional_batches(request, context)
    producers = {producer for producer, _ in batches.values()}
    if not producers:
        return None
    if len(producers) > 1:
        raise KafkaError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
    operation = Operation.VERIFY
    if context.api_version >= FIRST_THAT_ADDS_PARTITIONS:
        operation = Operation.ADD
    elif context.api_version >= FIRST_WITH_ABORTABLE:
        operation = Operation.VERIFY_ABORTABLE
    sequences = {tp: sequence for tp, (_, sequence) in batches.items()}
    return await context.services.transaction_verifier.admit(transactional_id, producers.pop(), sequences, operation)


def _unverified(code: ErrorCode, version: int) -> ErrorCode:
    """What the coordinator said, as producers know it: where they should try again, an error that has them do it."""
    if code in RETRIABLE_BY_OTHER_NAME:
        return ErrorCode.NOT_ENOUGH_REPLICAS
    if code is ErrorCode.CONCURRENT_TRANSACTIONS and version < FIRST_THAT_ADDS_PARTITIONS:
        return ErrorCode.NOT_ENOUGH_REPLICAS
    return code


def _is_transactional(request: ProduceRequest) -> bool:
    return any(
        data.records is not None and _has_transaction_bit(data.records)
        for topic_data in request.topic_data
        for data in topic_data.partition_data
    )


def _has_transaction_bit(records: memoryview) -> bool:
    return len(records) >= HEADER_SIZE and records[16] == 2 and bool(records[ATTRIBUTES_AT + 1] & TRANSACTIONAL_BIT)


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
    admission: Admission | None,
) -> AppendInfo | None:
    """Appends one partition's records and fills its answer in; None after an error."""
    replicas = context.services.replica_manager
    appending = False
    try:
        if replicas.find(tp) is None and context.services.metadata.partition(tp) is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        if context.api_version < FIRST_WITH_MAGIC_2:
            records = _whole_messages(records)
            if not len(records):
                return None
        else:
            records = _one_batch(records, context.api_version)
        if request.acks not in ACKS:
            raise KafkaError(ErrorCode.INVALID_REQUIRED_ACKS)
        if context.services.metadata.is_internal(tp.topic) and context.client_id != ADMIN_CLIENT_ID:
            raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION)
        verification: Verification | None = NOT_REQUIRED
        if admission is not None and _has_transaction_bit(records):
            if tp in admission.errors:
                raise KafkaError(_unverified(admission.errors[tp], context.api_version))
            verification = admission.verifications.get(tp)
        appending = True
        info = replicas.append(
            tp, records, acks=request.acks, request_version=context.api_version, verification=verification
        )
    except KafkaError as error:
        answer.error_code = _told(error.code, context.api_version)
        if isinstance(error, InvalidRecords):
            _explain(answer, error)
        if appending and error.code not in WITHOUT_LOG_START:
            answer.log_start_offset = replicas.leader(tp).log.log_start_offset
        return None
    answer.base_offset = info.first_offset
    answer.log_append_time_ms = info.log_append_time
    answer.log_start_offset = info.log_start_offset
    return info


def _whole_messages(records: memoryview | None) -> memoryview:
    """What versions 0-2 bring, without an incomplete message at the end; of none left Kafka makes nothing."""
    if records is None:
        return memoryview(b"")
    return records[: sum(entry.size for entry in batches(records))]


def _one_batch(records: memoryview | None, version: int) -> memoryview:
    """What Kafka checks before it looks at the partition: one whole batch of a known format. The log checks the rest.

    Returns the batch without an incomplete one behind it. Raises INVALID_RECORD, CORRUPT_MESSAGE, and
    UNSUPPORTED_COMPRESSION_TYPE for Zstandard before version 7 (KIP-110).
    """
    if records is None or len(records) < MIN_SCAN:
        raise KafkaError(ErrorCode.INVALID_RECORD)
    length, magic = _LENGTH_AND_MAGIC.unpack_from(records)
    if length < MIN_BATCH_LENGTH or not 0 <= magic <= 2:
        raise InvalidRecords(ErrorCode.CORRUPT_MESSAGE, f"A batch of length {length} and magic {magic}", [])
    size = LOG_OVERHEAD + length
    rest = len(records) - size
    if rest < 0 or magic != 2 or (rest >= MIN_SCAN and _LENGTH_AND_MAGIC.unpack_from(records, size)[0] <= rest):
        raise KafkaError(ErrorCode.INVALID_RECORD)
    if version < FIRST_WITH_ZSTD and records[ATTRIBUTES_AT + 1] & CODEC_MASK == Compression.ZSTD:
        raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
    return records[:size] if rest else records


def _explain(answer: PartitionResponse, error: InvalidRecords) -> None:
    answer.error_message = error.message
    answer.record_errors = [
        PartitionResponse.RecordError(batch_index=index, batch_index_error_message=message)
        for index, message in error.record_errors
    ]


async def _wait(
    appended: list[_Appended], request: ProduceRequest, context: RequestContext
) -> list[tuple[PartitionResponse, TopicPartition]]:
    """Waits as acks and `flush.messages` want: with acks=all until every append is committed.

    All of them together may use up the request's one timeout. Returns those whose leadership was lost meanwhile.
    """
    moved = []
    clock, replicas = context.services.clock, context.services.replica_manager
    deadline = clock.monotonic() + request.timeout_ms / 1000
    for answer, tp, offset, epoch in appended:
        try:
            if request.acks == -1:
                await replicas.wait_for_high_watermark(tp, offset, deadline - clock.monotonic(), epoch)
            else:
                await replicas.wait_for_flush(tp)
        except KafkaError as error:
            answer.error_code = _told(error.code, context.api_version)
            if error.code is ErrorCode.NOT_LEADER_OR_FOLLOWER:
                moved.append((answer, tp))
    return moved


def _told(code: ErrorCode, version: int) -> ErrorCode:
    """Clients before Produce 4 don't know of storage errors, nor that they may retry them."""
    if code is ErrorCode.KAFKA_STORAGE_ERROR and version < FIRST_WITH_STORAGE_ERROR:
        return ErrorCode.NOT_LEADER_OR_FOLLOWER
    return code


def _refuse_silence(response: ProduceResponse) -> None:
    """acks=0 has no answer to put an error in: Kafka closes the connection, so that the client looks again."""
    for topic in response.responses:
        for answer in topic.partition_responses:
            if answer.error_code != ErrorCode.NONE:
                tp = TopicPartition(topic.name or str(topic.topic_id), answer.index)
                raise CloseConnection(f"acks=0 to {tp} failed with {ErrorCode(answer.error_code).name}")
