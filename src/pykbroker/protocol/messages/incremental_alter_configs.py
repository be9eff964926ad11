"""IncrementalAlterConfigs: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Message, String, Struct


class IncrementalAlterConfigsRequest(Message, key=44, versions="0-1", flexible="1+"):
    """Single settings to set, delete, append to or subtract from (KIP-339)."""

    class Resource(Struct):
        class Config(Struct):
            name = String()
            config_operation = Int8()
            value = String(nullable="0+")

        resource_type = Int8()
        resource_name = String()
        configs = Array(Config)

    resources = Array(Resource)
    validate_only = Bool()


class IncrementalAlterConfigsResponse(Message, key=44, versions="0-1", flexible="1+"):
    """An error per resource."""

    class Response(Struct):
        error_code = Int16()
        error_message = String(nullable="0+")
        resource_type = Int8()
        resource_name = String()

    throttle_time_ms = Int32()
    responses = Array(Response)
