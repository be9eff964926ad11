"""ShareFetch: its request and its response."""

from pykbroker.protocol.message import (
    Array,
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Message,
    Nested,
    Records,
    String,
    Struct,
    Uuid,
)


class ShareFetchRequest(Message, key=78, versions="0-2", flexible="0+"):
    """Partitions to acquire records of, with acknowledgements of earlier ones (KIP-932)."""

    class Topic(Struct):
        class Partition(Struct):
            class AcknowledgementBatch(Struct):
                first_offset = Int64()
                last_offset = Int64()
                acknowledge_types = Array(Int8)

            partition_index = Int32()
            partition_max_bytes = Int32("0")
            acknowledgement_batches = Array(AcknowledgementBatch)

        topic_id = Uuid()
        partitions = Array(Partition)

    class ForgottenTopicData(Struct):
        topic_id = Uuid()
        partitions = Array(Int32)

    group_id = String(nullable="0+", default=None)
    member_id = String(nullable="0+")
    share_session_epoch = Int32()
    max_wait_ms = Int32()
    min_bytes = Int32()
    max_bytes = Int32(default=2**31 - 1)
    max_records = Int32("1+")
    batch_size = Int32("1+")
    share_acquire_mode = Int8("2+")
    is_renew_ack = Bool("2+")
    topics = Array(Topic)
    forgotten_topics_data = Array(ForgottenTopicData)


class ShareFetchResponse(Message, key=78, versions="0-2", flexible="0+"):
    """Acquired records by partition."""

    class Response(Struct):
        class Partition(Struct):
            class CurrentLeader(Struct):
                leader_id = Int32()
                leader_epoch = Int32()

            class AcquiredRecord(Struct):
                first_offset = Int64()
                last_offset = Int64()
                delivery_count = Int16()

            partition_index = Int32()
            error_code = Int16()
            error_message = String(nullable="0+", default=None)
            acknowledge_error_code = Int16()
            acknowledge_error_message = String(nullable="0+", default=None)
            current_leader = Nested(CurrentLeader)
            records = Records(nullable="0")
            acquired_records = Array(AcquiredRecord)

        topic_id = Uuid()
        partitions = Array(Partition)

    class NodeEndpoint(Struct):
        node_id = Int32()
        host = String()
        port = Int32()
        rack = String(nullable="0+", default=None)

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+", default=None)
    acquisition_lock_timeout_ms = Int32("1+")
    responses = Array(Response)
    node_endpoints = Array(NodeEndpoint)
