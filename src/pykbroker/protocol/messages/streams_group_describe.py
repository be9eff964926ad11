"""StreamsGroupDescribe: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Int64, Message, Nested, String, Struct, UInt16


class StreamsGroupDescribeRequest(Message, key=89, versions="0", flexible="0+"):
    """Streams groups by id (KIP-1071)."""

    group_ids = Array(String)
    include_authorized_operations = Bool()


class KeyValue(Struct):
    """Stands in more than one place of StreamsGroupDescribeResponse, as `KeyValue`."""

    key = String()
    value = String()


class TopicInfo(Struct):
    """Stands in more than one place of StreamsGroupDescribeResponse, as `TopicInfo`."""

    name = String()
    partitions = Int32()
    replication_factor = Int16()
    topic_configs = Array(KeyValue)


class TaskOffset(Struct):
    """Stands in more than one place of StreamsGroupDescribeResponse, as `TaskOffset`."""

    subtopology_id = String()
    partition = Int32()
    offset = Int64()


class TaskIds(Struct):
    """Stands in more than one place of StreamsGroupDescribeResponse, as `TaskIds`."""

    subtopology_id = String()
    partitions = Array(Int32)


class Assignment(Struct):
    """Stands in more than one place of StreamsGroupDescribeResponse, as `Assignment`."""

    active_tasks = Array(TaskIds)
    standby_tasks = Array(TaskIds)
    warmup_tasks = Array(TaskIds)


class StreamsGroupDescribeResponse(Message, key=89, versions="0", flexible="0+"):
    """State, topology and members with their tasks."""

    KeyValue = KeyValue
    TopicInfo = TopicInfo
    TaskOffset = TaskOffset
    TaskIds = TaskIds
    Assignment = Assignment

    class Group(Struct):
        class Topology(Struct):
            class Subtopology(Struct):
                subtopology_id = String()
                source_topics = Array(String)
                repartition_sink_topics = Array(String)
                state_changelog_topics = Array(TopicInfo)
                repartition_source_topics = Array(TopicInfo)

            epoch = Int32()
            subtopologies = Array(Subtopology, nullable="0+", default=None)

        class Member(Struct):
            class UserEndpoint(Struct):
                host = String()
                port = UInt16()

            member_id = String()
            member_epoch = Int32()
            instance_id = String(nullable="0+", default=None)
            rack_id = String(nullable="0+", default=None)
            client_id = String()
            client_host = String()
            topology_epoch = Int32()
            process_id = String()
            user_endpoint = Nested(UserEndpoint, nullable="0+", default=None)
            client_tags = Array(KeyValue)
            task_offsets = Array(TaskOffset)
            task_end_offsets = Array(TaskOffset)
            assignment = Nested(Assignment)
            target_assignment = Nested(Assignment)
            is_classic = Bool()

        error_code = Int16()
        error_message = String(nullable="0+", default=None)
        group_id = String()
        group_state = String()
        group_epoch = Int32()
        assignment_epoch = Int32()
        topology = Nested(Topology, nullable="0+", default=None)
        members = Array(Member)
        authorized_operations = Int32(default=-(2**31))

    throttle_time_ms = Int32()
    groups = Array(Group)
