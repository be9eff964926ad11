"""DescribeQuorum: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct, UInt16, Uuid


class DescribeQuorumRequest(Message, key=55, versions="0-2", flexible="0+"):
    """The metadata partition of the controllers' quorum."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()

        topic_name = String()
        partitions = Array(Partition)

    topics = Array(Topic)


class ReplicaState(Struct):
    """Stands in more than one place of DescribeQuorumResponse, as `ReplicaState`."""

    replica_id = Int32()
    replica_directory_id = Uuid("2+")
    log_end_offset = Int64()
    last_fetch_timestamp = Int64("1+", default=-1, ignorable=True)
    last_caught_up_timestamp = Int64("1+", default=-1, ignorable=True)


class DescribeQuorumResponse(Message, key=55, versions="0-2", flexible="0+"):
    """Its leader, voters and observers with their offsets."""

    ReplicaState = ReplicaState

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()
            error_message = String("2+", nullable="2+", ignorable=True)
            leader_id = Int32()
            leader_epoch = Int32()
            high_watermark = Int64()
            current_voters = Array(ReplicaState)
            observers = Array(ReplicaState)

        topic_name = String()
        partitions = Array(Partition)

    class Node(Struct):
        class Listener(Struct):
            name = String("2+")
            host = String("2+")
            port = UInt16("2+")

        node_id = Int32("2+")
        listeners = Array(Listener, "2+")

    error_code = Int16()
    error_message = String("2+", nullable="2+", ignorable=True)
    topics = Array(Topic)
    nodes = Array(Node, "2+")
