"""Vote: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Int64, Message, String, Struct, UInt16, Uuid


class VoteRequest(Message, key=52, versions="0-2", flexible="0+"):
    """A candidate of the controllers' quorum asks for a vote (KIP-595); before it, for a pre-vote (KIP-996)."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            replica_epoch = Int32()
            replica_id = Int32()
            replica_directory_id = Uuid("1+", ignorable=True)
            voter_directory_id = Uuid("1+", ignorable=True)
            last_offset_epoch = Int32()
            last_offset = Int64()
            pre_vote = Bool("2+")

        topic_name = String()
        partitions = Array(Partition)

    cluster_id = String(nullable="0+", default=None)
    voter_id = Int32("1+", default=-1, ignorable=True)
    topics = Array(Topic)


class VoteResponse(Message, key=52, versions="0-2", flexible="0+"):
    """Whether it is granted."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()
            leader_id = Int32()
            leader_epoch = Int32()
            vote_granted = Bool()

        topic_name = String()
        partitions = Array(Partition)

    class NodeEndpoint(Struct):
        node_id = Int32("1+")
        host = String("1+")
        port = UInt16("1+")

    error_code = Int16()
    topics = Array(Topic)
    node_endpoints = Array(NodeEndpoint, "1+", tag=0)
