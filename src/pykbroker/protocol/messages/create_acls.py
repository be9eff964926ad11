"""CreateAcls: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Message, String, Struct


class CreateAclsRequest(Message, key=30, versions="0-3", flexible="2+"):
    """Access rules to add."""

    class Creation(Struct):
        resource_type = Int8()
        resource_name = String()
        resource_pattern_type = Int8("1+", default=3)
        principal = String()
        host = String()
        operation = Int8()
        permission_type = Int8()

    creations = Array(Creation)


class CreateAclsResponse(Message, key=30, versions="0-3", flexible="2+"):
    """An error per rule, in the order of the request."""

    class Result(Struct):
        error_code = Int16()
        error_message = String(nullable="0+")

    throttle_time_ms = Int32()
    results = Array(Result)
