"""AlterConfigs: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Message, String, Struct


class AlterConfigsRequest(Message, key=33, versions="0-2", flexible="2+"):
    """Every setting of a resource at once; what is left out goes back to its default."""

    class Resource(Struct):
        class Config(Struct):
            name = String()
            value = String(nullable="0+")

        resource_type = Int8()
        resource_name = String()
        configs = Array(Config)

    resources = Array(Resource)
    validate_only = Bool()


class AlterConfigsResponse(Message, key=33, versions="0-2", flexible="2+"):
    """An error per resource."""

    class Response(Struct):
        error_code = Int16()
        error_message = String(nullable="0+")
        resource_type = Int8()
        resource_name = String()

    throttle_time_ms = Int32()
    responses = Array(Response)
