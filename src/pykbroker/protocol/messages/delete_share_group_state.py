"""DeleteShareGroupState: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, String, Struct, Uuid


class DeleteShareGroupStateRequest(Message, key=86, versions="0", flexible="0+"):
    """Share partitions of which the state is to go (KIP-932)."""

    class Topic(Struct):
        class Partition(Struct):
            partition = Int32()

        topic_id = Uuid()
        partitions = Array(Partition)

    group_id = String()
    topics = Array(Topic)


class DeleteShareGroupStateResponse(Message, key=86, versions="0", flexible="0+"):
    """An error per partition."""

    class Result(Struct):
        class Partition(Struct):
            partition = Int32()
            error_code = Int16()
            error_message = String(nullable="0+", default=None)

        topic_id = Uuid()
        partitions = Array(Partition)

    results = Array(Result)
