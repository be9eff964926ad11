"""DeleteRecords: a topic's oldest records, given up by those who have read them."""

from __future__ import annotations

from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.messages.delete_records import DeleteRecordsRequest, DeleteRecordsResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.request import RequestContext, handles

Answer = DeleteRecordsResponse.Topic.Partition

INVALID_LOW_WATERMARK = -1


@handles(DeleteRecordsRequest, "0-2")
async def delete_records(request: DeleteRecordsRequest, context: RequestContext) -> DeleteRecordsResponse:
    """DeleteRecords 0-2 (KIP-107): raises the log's start to an offset, -1 for the high watermark.

    The leader hides the records at once; segments go when they lie wholly below. It is answered when every live replica
    has done so, with their low watermark, or with REQUEST_TIMED_OUT. POLICY_VIOLATION for a topic without `delete` in
    its policy.
    """
    response = DeleteRecordsResponse()
    clock, replicas = context.services.clock, context.services.replica_manager
    deadline = clock.monotonic() + request.timeout_ms / 1000
    # Of a partition that is named twice the last offset counts, as in Kafka.
    wanted = {
        TopicPartition(topic.name, asked.partition_index): asked.offset
        for topic in request.topics
        for asked in topic.partitions
    }
    topics: dict[str, DeleteRecordsResponse.Topic] = {}
    deleted: list[tuple[Answer, TopicPartition, int]] = []
    for tp, offset in wanted.items():
        answer = Answer(partition_index=tp.partition, low_watermark=INVALID_LOW_WATERMARK)
        topics.setdefault(tp.topic, DeleteRecordsResponse.Topic(name=tp.topic)).partitions.append(answer)
        try:
            deleted.append((answer, tp, replicas.delete_records(tp, offset)))
        except KafkaError as error:
            answer.error_code = error.code
    response.topics = list(topics.values())
    for answer, tp, offset in deleted:
        try:
            wait = replicas.followers.wait_for_low_watermark
            answer.low_watermark = await wait(replicas.leader(tp), offset, deadline - clock.monotonic())
        except KafkaError as error:
            answer.error_code = error.code
    return response
