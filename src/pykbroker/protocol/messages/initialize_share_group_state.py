"""InitializeShareGroupState: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct, Uuid


class InitializeShareGroupStateRequest(Message, key=83, versions="0", flexible="0+"):
    """A share partition's state is to begin at an offset, between brokers (KIP-932)."""

    class Topic(Struct):
        class Partition(Struct):
            partition = Int32()
            state_epoch = Int32()
            start_offset = Int64()

        topic_id = Uuid()
        partitions = Array(Partition)

    group_id = String()
    topics = Array(Topic)


class InitializeShareGroupStateResponse(Message, key=83, versions="0", flexible="0+"):
    """An error per partition."""

    class Result(Struct):
        class Partition(Struct):
            partition = Int32()
            error_code = Int16()
            error_message = String(nullable="0+", default=None)

        topic_id = Uuid()
        partitions = Array(Partition)

    results = Array(Result)
