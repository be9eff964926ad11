"""The records of consumer groups in `__consumer_offsets` (KIP-848)."""

from pykbroker.protocol.message import Array, Bytes, Int8, Int32, Int64, Message, Nested, String, Struct, Uuid


class ConsumerGroupCurrentMemberAssignmentKey(Message, key=8, versions="0"):
    """Which member of which group the value is of."""

    group_id = String("0")
    member_id = String("0")


class TopicPartitions(Struct):
    """Stands in more than one place of ConsumerGroupCurrentMemberAssignmentValue, as `TopicPartition`."""

    topic_id = Uuid()
    partitions = Array(Int32)
    assignment_epochs = Array(Int32, nullable="0+", default=None, tag=0)


class ConsumerGroupCurrentMemberAssignmentValue(Message, key=8, versions="0", flexible="0+"):
    """The partitions that it has, and has yet to give up."""

    TopicPartition = TopicPartitions

    member_epoch = Int32()
    previous_member_epoch = Int32()
    state = Int8()
    assigned_partitions = Array(TopicPartitions)
    partitions_pending_revocation = Array(TopicPartitions)


class ConsumerGroupMemberMetadataKey(Message, key=5, versions="0"):
    """Which member of which group the value is of."""

    group_id = String("0")
    member_id = String("0")


class ConsumerGroupMemberMetadataValue(Message, key=5, versions="0", flexible="0+"):
    """What the member told of itself; a classic member keeps its protocols here."""

    class ClassicMemberMetadata(Struct):
        class SupportedProtocol(Struct):
            name = String()
            metadata = Bytes()

        session_timeout_ms = Int32()
        supported_protocols = Array(SupportedProtocol)

    instance_id = String(nullable="0+")
    rack_id = String(nullable="0+")
    client_id = String()
    client_host = String()
    subscribed_topic_names = Array(String)
    subscribed_topic_regex = String(nullable="0+")
    rebalance_timeout_ms = Int32(default=-1)
    server_assignor = String(nullable="0+")
    classic_member_metadata = Nested(ClassicMemberMetadata, nullable="0+", default=None, tag=0)


class ConsumerGroupMetadataKey(Message, key=3, versions="0"):
    """Which consumer group the value is of."""

    group_id = String("0")


class ConsumerGroupMetadataValue(Message, key=3, versions="0", flexible="0+"):
    """Its epoch."""

    epoch = Int32()
    metadata_hash = Int64(tag=0)
    creation_time_ms = Int64(default=-1, tag=1)


class ConsumerGroupPartitionMetadataKey(Message, key=4, versions="0"):
    """Which consumer group the value is of."""

    group_id = String("0")


class ConsumerGroupPartitionMetadataValue(Message, key=4, versions="0", flexible="0+"):
    """The topics that it reads, as they were when it last looked."""

    class Topic(Struct):
        class PartitionMetadata(Struct):
            partition = Int32()
            racks = Array(String)

        topic_id = Uuid()
        topic_name = String()
        num_partitions = Int32()
        partition_metadata = Array(PartitionMetadata)

    topics = Array(Topic)


class ConsumerGroupRegularExpressionKey(Message, key=16, versions="0"):
    """Which expression of which group the value is of."""

    group_id = String("0")
    regular_expression = String("0")


class ConsumerGroupRegularExpressionValue(Message, key=16, versions="0", flexible="0+"):
    """The topics that it stands for."""

    topics = Array(String)
    version = Int64()
    timestamp = Int64()


class ConsumerGroupTargetAssignmentMemberKey(Message, key=7, versions="0"):
    """Which member of which group the value is of."""

    group_id = String("0")
    member_id = String("0")


class ConsumerGroupTargetAssignmentMemberValue(Message, key=7, versions="0", flexible="0+"):
    """The partitions that it shall have."""

    class TopicPartition(Struct):
        topic_id = Uuid()
        partitions = Array(Int32)

    topic_partitions = Array(TopicPartition)


class ConsumerGroupTargetAssignmentMetadataKey(Message, key=6, versions="0"):
    """Which consumer group the value is of."""

    group_id = String("0")


class ConsumerGroupTargetAssignmentMetadataValue(Message, key=6, versions="0", flexible="0+"):
    """The epoch that the target assignment was made for."""

    assignment_epoch = Int32()
    assignment_timestamp = Int64(ignorable=True, tag=0)
