"""Fetch: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Int64, Message, Nested, Records, String, Struct, Uuid


class FetchRequest(Message, key=1, versions="0-18", flexible="12+"):
    """Partitions and offsets to read from, whole or as changes to a session (KIP-227); ids from version 13."""

    class ReplicaState(Struct):
        replica_id = Int32("15+", default=-1)
        replica_epoch = Int64("15+", default=-1)

    class Topic(Struct):
        class Partition(Struct):
            partition = Int32()
            current_leader_epoch = Int32("9+", default=-1, ignorable=True)
            fetch_offset = Int64()
            last_fetched_epoch = Int32("12+", default=-1)
            log_start_offset = Int64("5+", default=-1, ignorable=True)
            partition_max_bytes = Int32()
            replica_directory_id = Uuid("17+", ignorable=True, tag=0)
            high_watermark = Int64("18+", default=2**63 - 1, ignorable=True, tag=1)

        topic = String("0-12", ignorable=True)
        topic_id = Uuid("13+", ignorable=True)
        partitions = Array(Partition)

    class ForgottenTopicData(Struct):
        topic = String("7-12", ignorable=True)
        topic_id = Uuid("13+", ignorable=True)
        partitions = Array(Int32, "7+")

    cluster_id = String("12+", nullable="12+", default=None, ignorable=True, tag=0)
    replica_id = Int32("0-14", default=-1)
    replica_state = Nested(ReplicaState, "15+", tag=1)
    max_wait_ms = Int32()
    min_bytes = Int32()
    max_bytes = Int32("3+", default=2**31 - 1, ignorable=True)
    isolation_level = Int8("4+", ignorable=True)
    session_id = Int32("7+", ignorable=True)
    session_epoch = Int32("7+", default=-1, ignorable=True)
    topics = Array(Topic)
    forgotten_topics_data = Array(ForgottenTopicData, "7+")
    rack_id = String("11+", ignorable=True)


class FetchResponse(Message, key=1, versions="0-18", flexible="12+"):
    """Records by partition; within a fetch session only the partitions that have something to say."""

    class Response(Struct):
        class Partition(Struct):
            class DivergingEpoch(Struct):
                epoch = Int32("12+", default=-1)
                end_offset = Int64("12+", default=-1)

            class CurrentLeader(Struct):
                leader_id = Int32("12+", default=-1)
                leader_epoch = Int32("12+", default=-1)

            class SnapshotId(Struct):
                end_offset = Int64(default=-1)
                epoch = Int32(default=-1)

            class AbortedTransaction(Struct):
                producer_id = Int64("4+")
                first_offset = Int64("4+")

            partition_index = Int32()
            error_code = Int16()
            high_watermark = Int64()
            last_stable_offset = Int64("4+", default=-1, ignorable=True)
            log_start_offset = Int64("5+", default=-1, ignorable=True)
            diverging_epoch = Nested(DivergingEpoch, "12+", tag=0)
            current_leader = Nested(CurrentLeader, "12+", tag=1)
            snapshot_id = Nested(SnapshotId, "12+", tag=2)
            aborted_transactions = Array(AbortedTransaction, "4+", nullable="4+", ignorable=True)
            preferred_read_replica = Int32("11+", default=-1)
            records = Records(nullable="0+")

        topic = String("0-12", ignorable=True)
        topic_id = Uuid("13+", ignorable=True)
        partitions = Array(Partition)

    class NodeEndpoint(Struct):
        node_id = Int32("16+")
        host = String("16+")
        port = Int32("16+")
        rack = String("16+", nullable="16+", default=None)

    throttle_time_ms = Int32("1+", ignorable=True)
    error_code = Int16("7+", ignorable=True)
    session_id = Int32("7+")
    responses = Array(Response)
    node_endpoints = Array(NodeEndpoint, "16+", tag=0)
