"""ListConfigResources: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Message, String, Struct


class ListConfigResourcesRequest(Message, key=74, versions="0-1", flexible="0+"):
    """The resources that have settings; version 0 lists client metrics alone (KIP-714, KIP-1142)."""

    resource_types = Array(Int8, "1+")


class ListConfigResourcesResponse(Message, key=74, versions="0-1", flexible="0+"):
    """Their names and types."""

    class ConfigResource(Struct):
        resource_name = String()
        resource_type = Int8("1+", default=16, ignorable=True)

    throttle_time_ms = Int32()
    error_code = Int16()
    config_resources = Array(ConfigResource)
