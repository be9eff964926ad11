"""The records of share groups in `__consumer_offsets` (KIP-932)."""

from pykbroker.protocol.message import Array, Int8, Int32, Int64, Message, String, Struct, Uuid


class ShareGroupCurrentMemberAssignmentKey(Message, key=14, versions="0"):
    """Which member of which group the value is of."""

    group_id = String("0")
    member_id = String("0")


class ShareGroupCurrentMemberAssignmentValue(Message, key=14, versions="0", flexible="0+"):
    """The partitions that it has."""

    class AssignedPartition(Struct):
        topic_id = Uuid()
        partitions = Array(Int32)

    member_epoch = Int32()
    previous_member_epoch = Int32()
    state = Int8()
    assigned_partitions = Array(AssignedPartition)


class ShareGroupMemberMetadataKey(Message, key=10, versions="0"):
    """Which member of which group the value is of."""

    group_id = String("0")
    member_id = String("0")


class ShareGroupMemberMetadataValue(Message, key=10, versions="0", flexible="0+"):
    """What the member told of itself."""

    rack_id = String(nullable="0+")
    client_id = String()
    client_host = String()
    subscribed_topic_names = Array(String)


class ShareGroupMetadataKey(Message, key=11, versions="0"):
    """Which share group the value is of."""

    group_id = String("0")


class ShareGroupMetadataValue(Message, key=11, versions="0", flexible="0+"):
    """Its epoch."""

    epoch = Int32()
    metadata_hash = Int64()


class ShareGroupPartitionMetadataKey(Message, key=9, versions="0"):
    """Which share group the value is of."""

    group_id = String("0")


class ShareGroupPartitionMetadataValue(Message, key=9, versions="0", flexible="0+"):
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


class ShareGroupStatePartitionMetadataKey(Message, key=15, versions="0"):
    """Which share group the value is of."""

    group_id = String("0")


class TopicPartitionsInfo(Struct):
    """Stands in more than one place of ShareGroupStatePartitionMetadataValue, as `TopicPartitionsInfo`."""

    topic_id = Uuid()
    topic_name = String()
    partitions = Array(Int32)
    create_timestamp = Int64()


class ShareGroupStatePartitionMetadataValue(Message, key=15, versions="0", flexible="0+"):
    """The partitions whose state is begun, is being begun, or is to go."""

    TopicPartitionsInfo = TopicPartitionsInfo

    class DeletingTopic(Struct):
        topic_id = Uuid()
        topic_name = String()

    initializing_topics = Array(TopicPartitionsInfo)
    initialized_topics = Array(TopicPartitionsInfo)
    deleting_topics = Array(DeletingTopic)


class ShareGroupTargetAssignmentMemberKey(Message, key=13, versions="0"):
    """Which member of which group the value is of."""

    group_id = String("0")
    member_id = String("0")


class ShareGroupTargetAssignmentMemberValue(Message, key=13, versions="0", flexible="0+"):
    """The partitions that it shall have."""

    class TopicPartition(Struct):
        topic_id = Uuid()
        partitions = Array(Int32)

    topic_partitions = Array(TopicPartition)


class ShareGroupTargetAssignmentMetadataKey(Message, key=12, versions="0"):
    """Which share group the value is of."""

    group_id = String("0")


class ShareGroupTargetAssignmentMetadataValue(Message, key=12, versions="0", flexible="0+"):
    """The epoch that the target assignment was made for."""

    assignment_epoch = Int32()
