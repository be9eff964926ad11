"""DeleteTopics: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, String, Struct, Uuid


class DeleteTopicsRequest(Message, key=20, versions="0-6", flexible="4+"):
    """Topics by name; from version 6 by name or id."""

    class Topic(Struct):
        name = String("6+", nullable="6+", default=None)
        topic_id = Uuid("6+")

    topics = Array(Topic, "6+")
    topic_names = Array(String, "0-5", ignorable=True)
    timeout_ms = Int32()


class DeleteTopicsResponse(Message, key=20, versions="0-6", flexible="4+"):
    """An error per topic."""

    class Response(Struct):
        name = String(nullable="6+")
        topic_id = Uuid("6+", ignorable=True)
        error_code = Int16()
        error_message = String("5+", nullable="5+", default=None, ignorable=True)

    throttle_time_ms = Int32("1+", ignorable=True)
    responses = Array(Response)
