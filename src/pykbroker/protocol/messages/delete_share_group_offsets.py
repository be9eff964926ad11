"""DeleteShareGroupOffsets: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, String, Struct, Uuid


class DeleteShareGroupOffsetsRequest(Message, key=92, versions="0", flexible="0+"):
    """Topics that a share group shall forget (KIP-932)."""

    class Topic(Struct):
        topic_name = String()

    group_id = String()
    topics = Array(Topic)


class DeleteShareGroupOffsetsResponse(Message, key=92, versions="0", flexible="0+"):
    """An error per topic."""

    class Response(Struct):
        topic_name = String()
        topic_id = Uuid()
        error_code = Int16()
        error_message = String(nullable="0+", default=None)

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+", default=None)
    responses = Array(Response)
