"""CreatePartitions: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Message, String, Struct


class CreatePartitionsRequest(Message, key=37, versions="0-3", flexible="2+"):
    """The number of partitions that each topic shall have in all, the present ones included."""

    class Topic(Struct):
        class Assignment(Struct):
            broker_ids = Array(Int32)

        name = String()
        count = Int32()
        assignments = Array(Assignment, nullable="0+")

    topics = Array(Topic)
    timeout_ms = Int32()
    validate_only = Bool()


class CreatePartitionsResponse(Message, key=37, versions="0-3", flexible="2+"):
    """An error per topic."""

    class Result(Struct):
        name = String()
        error_code = Int16()
        error_message = String(nullable="0+", default=None)

    throttle_time_ms = Int32()
    results = Array(Result)
