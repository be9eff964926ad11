"""FetchSnapshot: its request and its response."""

from pykbroker.protocol.message import (
    Array,
    Int16,
    Int32,
    Int64,
    Message,
    Nested,
    Records,
    String,
    Struct,
    UInt16,
    Uuid,
)


class FetchSnapshotRequest(Message, key=59, versions="0-1", flexible="0+"):
    """A part of the metadata snapshot (KIP-630)."""

    class Topic(Struct):
        class Partition(Struct):
            class SnapshotId(Struct):
                end_offset = Int64()
                epoch = Int32()

            partition = Int32()
            current_leader_epoch = Int32()
            snapshot_id = Nested(SnapshotId)
            position = Int64()
            replica_directory_id = Uuid("1+", ignorable=True, tag=0)

        name = String()
        partitions = Array(Partition)

    cluster_id = String(nullable="0+", default=None, tag=0)
    replica_id = Int32(default=-1)
    max_bytes = Int32(default=2**31 - 1)
    topics = Array(Topic)


class FetchSnapshotResponse(Message, key=59, versions="0-1", flexible="0+"):
    """The part, which needn't end with a batch."""

    class Topic(Struct):
        class Partition(Struct):
            class SnapshotId(Struct):
                end_offset = Int64()
                epoch = Int32()

            class CurrentLeader(Struct):
                leader_id = Int32()
                leader_epoch = Int32()

            index = Int32()
            error_code = Int16()
            snapshot_id = Nested(SnapshotId)
            current_leader = Nested(CurrentLeader, tag=0)
            size = Int64()
            position = Int64()
            unaligned_records = Records()

        name = String()
        partitions = Array(Partition)

    class NodeEndpoint(Struct):
        node_id = Int32("1+")
        host = String("1+")
        port = UInt16("1+")

    throttle_time_ms = Int32(ignorable=True)
    error_code = Int16()
    topics = Array(Topic)
    node_endpoints = Array(NodeEndpoint, "1+", tag=0)
