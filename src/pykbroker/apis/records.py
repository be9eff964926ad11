"""DeleteRecords: a topic's oldest records, given up by those who have read them."""

from __future__ import annotations

from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.messages.delete_records import DeleteRecordsRequest, DeleteRecordsResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.request import RequestContext, handles

INVALID_LOW_WATERMARK = -1


@handles(DeleteRecordsRequest, "0-2")
async def delete_records(request: DeleteRecordsRequest, context: RequestContext) -> DeleteRecordsResponse:
    """DeleteRecords 0-2 (KIP-107): raises the log's start to an offset, -1 for the high watermark.

    The records are hidden at once; segments go when they lie wholly below. The answer has the low watermark, with the
    leader alone its log start. POLICY_VIOLATION for a topic without `delete` in its policy.
    """
    response = DeleteRecordsResponse()
    for topic in request.topics:
        answers = []
        for asked in topic.partitions:
            answer = DeleteRecordsResponse.Topic.Partition(
                partition_index=asked.partition_index, low_watermark=INVALID_LOW_WATERMARK
            )
            try:
                tp = TopicPartition(topic.name, asked.partition_index)
                answer.low_watermark = context.services.replica_manager.delete_records(tp, asked.offset)
            except KafkaError as error:
                answer.error_code = error.code
            answers.append(answer)
        response.topics.append(DeleteRecordsResponse.Topic(name=topic.name, partitions=answers))
    return response
