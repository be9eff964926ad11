"""Produce: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, Nested, Records, String, Struct, Uuid


class ProduceRequest(Message, key=0, versions="0-13", flexible="9+"):
    """Record batches by topic and partition; from version 13 a topic goes by its id."""

    class TopicData(Struct):
        class PartitionData(Struct):
            index = Int32()
            records = Records(nullable="0+")

        name = String("0-12", ignorable=True)
        topic_id = Uuid("13+", ignorable=True)
        partition_data = Array(PartitionData)

    transactional_id = String("3+", nullable="3+", default=None)
    acks = Int16()
    timeout_ms = Int32()
    topic_data = Array(TopicData)


class ProduceResponse(Message, key=0, versions="0-13", flexible="9+"):
    """The offset that each partition gave; there is none at all for acks=0."""

    class Response(Struct):
        class PartitionResponse(Struct):
            class RecordError(Struct):
                batch_index = Int32("8+")
                batch_index_error_message = String("8+", nullable="8+", default=None)

            class CurrentLeader(Struct):
                leader_id = Int32("10+", default=-1)
                leader_epoch = Int32("10+", default=-1)

            index = Int32()
            error_code = Int16()
            base_offset = Int64()
            log_append_time_ms = Int64("2+", default=-1, ignorable=True)
            log_start_offset = Int64("5+", default=-1, ignorable=True)
            record_errors = Array(RecordError, "8+", ignorable=True)
            error_message = String("8+", nullable="8+", default=None, ignorable=True)
            current_leader = Nested(CurrentLeader, "10+", tag=0)

        name = String("0-12", ignorable=True)
        topic_id = Uuid("13+", ignorable=True)
        partition_responses = Array(PartitionResponse)

    class NodeEndpoint(Struct):
        node_id = Int32("10+")
        host = String("10+")
        port = Int32("10+")
        rack = String("10+", nullable="10+", default=None)

    responses = Array(Response)
    throttle_time_ms = Int32("1+", ignorable=True)
    node_endpoints = Array(NodeEndpoint, "10+", tag=0)
