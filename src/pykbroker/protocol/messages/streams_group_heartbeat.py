"""StreamsGroupHeartbeat: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Int64, Message, Nested, String, Struct, UInt16


class KeyValue(Struct):
    """Stands in more than one place of StreamsGroupHeartbeatRequest, as `KeyValue`."""

    key = String()
    value = String()


class TopicInfo(Struct):
    """Stands in more than one place of StreamsGroupHeartbeatRequest, as `TopicInfo`."""

    name = String()
    partitions = Int32()
    replication_factor = Int16()
    topic_configs = Array(KeyValue)


class TaskIds(Struct):
    """Stands in more than one place of StreamsGroupHeartbeatRequest, as `TaskIds`."""

    subtopology_id = String()
    partitions = Array(Int32)


class TaskOffset(Struct):
    """Stands in more than one place of StreamsGroupHeartbeatRequest, as `TaskOffset`."""

    subtopology_id = String()
    partition = Int32()
    offset = Int64()


class StreamsGroupHeartbeatRequest(Message, key=88, versions="0", flexible="0+"):
    """A member of a streams group: topology, tasks and what changed (KIP-1071)."""

    KeyValue = KeyValue
    TopicInfo = TopicInfo
    TaskIds = TaskIds
    TaskOffset = TaskOffset

    class Topology(Struct):
        class Subtopology(Struct):
            class CopartitionGroup(Struct):
                source_topics = Array(Int16)
                source_topic_regex = Array(Int16)
                repartition_source_topics = Array(Int16)

            subtopology_id = String()
            source_topics = Array(String)
            source_topic_regex = Array(String)
            state_changelog_topics = Array(TopicInfo)
            repartition_sink_topics = Array(String)
            repartition_source_topics = Array(TopicInfo)
            copartition_groups = Array(CopartitionGroup)

        epoch = Int32()
        subtopologies = Array(Subtopology)

    class UserEndpoint(Struct):
        host = String()
        port = UInt16()

    group_id = String()
    member_id = String()
    member_epoch = Int32()
    endpoint_information_epoch = Int32()
    instance_id = String(nullable="0+", default=None)
    rack_id = String(nullable="0+", default=None)
    rebalance_timeout_ms = Int32(default=-1)
    topology = Nested(Topology, nullable="0+", default=None)
    active_tasks = Array(TaskIds, nullable="0+", default=None)
    standby_tasks = Array(TaskIds, nullable="0+", default=None)
    warmup_tasks = Array(TaskIds, nullable="0+", default=None)
    process_id = String(nullable="0+", default=None)
    user_endpoint = Nested(UserEndpoint, nullable="0+", default=None)
    client_tags = Array(KeyValue, nullable="0+", default=None)
    task_offsets = Array(TaskOffset, nullable="0+", default=None)
    task_end_offsets = Array(TaskOffset, nullable="0+", default=None)
    shutdown_application = Bool()


class TopicPartition(Struct):
    """Stands in more than one place of StreamsGroupHeartbeatResponse, as `TopicPartition`."""

    topic = String()
    partitions = Array(Int32)


class StreamsGroupHeartbeatResponse(Message, key=88, versions="0", flexible="0+"):
    """The member's epoch; tasks where they changed."""

    TaskIds = TaskIds
    TopicPartition = TopicPartition

    class Status(Struct):
        status_code = Int8()
        status_detail = String()

    class PartitionsByUserEndpoint(Struct):
        class UserEndpoint(Struct):
            host = String()
            port = UInt16()

        user_endpoint = Nested(UserEndpoint)
        active_partitions = Array(TopicPartition)
        standby_partitions = Array(TopicPartition)

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+", default=None)
    member_id = String()
    member_epoch = Int32()
    heartbeat_interval_ms = Int32()
    acceptable_recovery_lag = Int32()
    task_offset_interval_ms = Int32()
    status = Array(Status, nullable="0+", default=None)
    active_tasks = Array(TaskIds, nullable="0+", default=None)
    standby_tasks = Array(TaskIds, nullable="0+", default=None)
    warmup_tasks = Array(TaskIds, nullable="0+", default=None)
    endpoint_information_epoch = Int32()
    partitions_by_user_endpoint = Array(PartitionsByUserEndpoint, nullable="0+", default=None)
