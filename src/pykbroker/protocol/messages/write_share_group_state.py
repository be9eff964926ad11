"""WriteShareGroupState: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Int64, Message, String, Struct, Uuid


class WriteShareGroupStateRequest(Message, key=85, versions="0-1", flexible="0+"):
    """What changed in a share partition's state (KIP-932)."""

    class Topic(Struct):
        class Partition(Struct):
            class StateBatch(Struct):
                first_offset = Int64()
                last_offset = Int64()
                delivery_state = Int8()
                delivery_count = Int16()

            partition = Int32()
            state_epoch = Int32()
            leader_epoch = Int32()
            start_offset = Int64()
            delivery_complete_count = Int32("1+", default=-1, ignorable=True)
            state_batches = Array(StateBatch)

        topic_id = Uuid()
        partitions = Array(Partition)

    group_id = String()
    topics = Array(Topic)


class WriteShareGroupStateResponse(Message, key=85, versions="0-1", flexible="0+"):
    """An error per partition."""

    class Result(Struct):
        class Partition(Struct):
            partition = Int32()
            error_code = Int16()
            error_message = String(nullable="0+", default=None)

        topic_id = Uuid()
        partitions = Array(Partition)

    results = Array(Result)
