"""ConsumerGroupHeartbeat: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, Nested, String, Struct, Uuid


class ConsumerGroupHeartbeatRequest(Message, key=68, versions="0-1", flexible="0+"):
    """A member of a consumer group: to join, to tell what changed, to leave (KIP-848)."""

    class TopicPartition(Struct):
        topic_id = Uuid()
        partitions = Array(Int32)

    group_id = String()
    member_id = String()
    member_epoch = Int32()
    instance_id = String(nullable="0+", default=None)
    rack_id = String(nullable="0+", default=None)
    rebalance_timeout_ms = Int32(default=-1)
    subscribed_topic_names = Array(String, nullable="0+", default=None)
    subscribed_topic_regex = String("1+", nullable="1+", default=None)
    server_assignor = String(nullable="0+", default=None)
    topic_partitions = Array(TopicPartition, nullable="0+", default=None)


class TopicPartitions(Struct):
    """Stands in more than one place of ConsumerGroupHeartbeatResponse, as `TopicPartition`."""

    topic_id = Uuid()
    partitions = Array(Int32)


class ConsumerGroupHeartbeatResponse(Message, key=68, versions="0-1", flexible="0+"):
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
