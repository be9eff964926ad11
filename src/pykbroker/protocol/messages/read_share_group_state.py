"""ReadShareGroupState: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Int64, Message, String, Struct, Uuid


class ReadShareGroupStateRequest(Message, key=84, versions="0", flexible="0+"):
    """A share partition's state, for the leader that takes it over (KIP-932)."""

    class Topic(Struct):
        class Partition(Struct):
            partition = Int32()
            leader_epoch = Int32()

        topic_id = Uuid()
        partitions = Array(Partition)

    group_id = String()
    topics = Array(Topic)


class ReadShareGroupStateResponse(Message, key=84, versions="0", flexible="0+"):
    """State epoch, start offset and batches."""

    class Result(Struct):
        class Partition(Struct):
            class StateBatch(Struct):
                first_offset = Int64()
                last_offset = Int64()
                delivery_state = Int8()
                delivery_count = Int16()

            partition = Int32()
            error_code = Int16()
            error_message = String(nullable="0+", default=None)
            state_epoch = Int32()
            start_offset = Int64()
            state_batches = Array(StateBatch)

        topic_id = Uuid()
        partitions = Array(Partition)

    results = Array(Result)
