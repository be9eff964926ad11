"""ConsumerGroupDescribe: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Message, Nested, String, Struct, Uuid


class ConsumerGroupDescribeRequest(Message, key=69, versions="0-1", flexible="0+"):
    """Consumer groups by id (KIP-848)."""

    group_ids = Array(String)
    include_authorized_operations = Bool()


class TopicPartitions(Struct):
    """Stands in more than one place of ConsumerGroupDescribeResponse, as `TopicPartition`."""

    topic_id = Uuid()
    topic_name = String()
    partitions = Array(Int32)


class Assignment(Struct):
    """Stands in more than one place of ConsumerGroupDescribeResponse, as `Assignment`."""

    topic_partitions = Array(TopicPartitions)


class ConsumerGroupDescribeResponse(Message, key=69, versions="0-1", flexible="0+"):
    """State, epochs and members with their assignments."""

    TopicPartition = TopicPartitions
    Assignment = Assignment

    class Group(Struct):
        class Member(Struct):
            member_id = String()
            instance_id = String(nullable="0+", default=None)
            rack_id = String(nullable="0+", default=None)
            member_epoch = Int32()
            client_id = String()
            client_host = String()
            subscribed_topic_names = Array(String)
            subscribed_topic_regex = String(nullable="0+", default=None)
            assignment = Nested(Assignment)
            target_assignment = Nested(Assignment)
            member_type = Int8("1+", default=-1, ignorable=True)

        error_code = Int16()
        error_message = String(nullable="0+", default=None)
        group_id = String()
        group_state = String()
        group_epoch = Int32()
        assignment_epoch = Int32()
        assignor_name = String()
        members = Array(Member)
        authorized_operations = Int32(default=-(2**31))

    throttle_time_ms = Int32()
    groups = Array(Group)
