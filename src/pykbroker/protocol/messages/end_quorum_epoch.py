"""EndQuorumEpoch: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, String, Struct, UInt16, Uuid


class EndQuorumEpochRequest(Message, key=54, versions="0-1", flexible="1+"):
    """The leader of the controllers' quorum steps down."""

    class Topic(Struct):
        class Partition(Struct):
            class PreferredCandidate(Struct):
                candidate_id = Int32("1+")
                candidate_directory_id = Uuid("1+")

            partition_index = Int32()
            leader_id = Int32()
            leader_epoch = Int32()
            preferred_successors = Array(Int32, "0", ignorable=True)
            preferred_candidates = Array(PreferredCandidate, "1+", ignorable=True)

        topic_name = String()
        partitions = Array(Partition)

    class LeaderEndpoint(Struct):
        name = String("1+")
        host = String("1+")
        port = UInt16("1+")

    cluster_id = String(nullable="0+", default=None)
    topics = Array(Topic)
    leader_endpoints = Array(LeaderEndpoint, "1+", ignorable=True)


class EndQuorumEpochResponse(Message, key=54, versions="0-1", flexible="1+"):
    """The leader and epoch that the voter knows."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()
            leader_id = Int32()
            leader_epoch = Int32()

        topic_name = String()
        partitions = Array(Partition)

    class NodeEndpoint(Struct):
        node_id = Int32("1+")
        host = String("1+")
        port = UInt16("1+")

    error_code = Int16()
    topics = Array(Topic)
    node_endpoints = Array(NodeEndpoint, "1+", tag=0)
