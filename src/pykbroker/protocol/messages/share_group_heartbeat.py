"""ShareGroupHeartbeat: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, Nested, String, Struct, Uuid


class ShareGroupHeartbeatRequest(Message, key=76, versions="0-1", flexible="0+"):
    """A member of a share group: to join, to tell what changed, to leave (KIP-932)."""

    group_id = String()
    member_id = String()
    member_epoch = Int32()
    rack_id = String(nullable="0+", default=None)
    subscribed_topic_names = Array(String, nullable="0+", default=None)


class TopicPartitions(Struct):
    """Stands in more than one place of ShareGroupHeartbeatResponse, as `TopicPartition`."""

    topic_id = Uuid()
    partitions = Array(Int32)


class ShareGroupHeartbeatResponse(Message, key=76, versions="0-1", flexible="0+"):
    """The member's epoch; an assignment where it changed."""

    TopicPartition = TopicPartitions

    class Assignment(Struct):
        topic_partitions = Array(TopicPartitions)

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+", default=None)
    member_id = String(nullable="0+", default=None)
    member_epoch = Int32()
    heartbeat_interval_ms = Int32()
    assignment = Nested(Assignment, nullable="0+", default=None)
