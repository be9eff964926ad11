"""ReadShareGroupStateSummary: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct, Uuid


class ReadShareGroupStateSummaryRequest(Message, key=87, versions="0-1", flexible="0+"):
    """The start offsets alone (KIP-932)."""

    class Topic(Struct):
        class Partition(Struct):
            partition = Int32()
            leader_epoch = Int32()

        topic_id = Uuid()
        partitions = Array(Partition)

    group_id = String()
    topics = Array(Topic)


class ReadShareGroupStateSummaryResponse(Message, key=87, versions="0-1", flexible="0+"):
    """State epoch and start offset per partition."""

    class Result(Struct):
        class Partition(Struct):
            partition = Int32()
            error_code = Int16()
            error_message = String(nullable="0+", default=None)
            state_epoch = Int32()
            leader_epoch = Int32()
            start_offset = Int64()
            delivery_complete_count = Int32("1+", default=-1, ignorable=True)

        topic_id = Uuid()
        partitions = Array(Partition)

    results = Array(Result)
