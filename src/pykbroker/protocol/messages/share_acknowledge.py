"""ShareAcknowledge: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Int64, Message, Nested, String, Struct, Uuid


class ShareAcknowledgeRequest(Message, key=79, versions="0-2", flexible="0+"):
    """Records accepted, released or rejected (KIP-932)."""

    class Topic(Struct):
        class Partition(Struct):
            class AcknowledgementBatch(Struct):
                first_offset = Int64()
                last_offset = Int64()
                acknowledge_types = Array(Int8)

            partition_index = Int32()
            acknowledgement_batches = Array(AcknowledgementBatch)

        topic_id = Uuid()
        partitions = Array(Partition)

    group_id = String(nullable="0+", default=None)
    member_id = String(nullable="0+")
    share_session_epoch = Int32()
    is_renew_ack = Bool("2+")
    topics = Array(Topic)


class ShareAcknowledgeResponse(Message, key=79, versions="0-2", flexible="0+"):
    """An error per partition."""

    class Response(Struct):
        class Partition(Struct):
            class CurrentLeader(Struct):
                leader_id = Int32()
                leader_epoch = Int32()

            partition_index = Int32()
            error_code = Int16()
            error_message = String(nullable="0+", default=None)
            current_leader = Nested(CurrentLeader)

        topic_id = Uuid(ignorable=True)
        partitions = Array(Partition)

    class NodeEndpoint(Struct):
        node_id = Int32()
        host = String()
        port = Int32()
        rack = String(nullable="0+", default=None)

    throttle_time_ms = Int32(ignorable=True)
    error_code = Int16(ignorable=True)
    error_message = String(nullable="0+", default=None)
    acquisition_lock_timeout_ms = Int32("2+")
    responses = Array(Response)
    node_endpoints = Array(NodeEndpoint)
