"""DescribeConfigs: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Message, String, Struct


class DescribeConfigsRequest(Message, key=32, versions="0-4", flexible="4+"):
    """Null configuration keys ask for all of a resource."""

    class Resource(Struct):
        resource_type = Int8()
        resource_name = String()
        configuration_keys = Array(String, nullable="0+")

    resources = Array(Resource)
    include_synonyms = Bool("1+")
    include_documentation = Bool("3+")


class DescribeConfigsResponse(Message, key=32, versions="0-4", flexible="4+"):
    """Values with their sources, types and synonyms (KIP-226, KIP-569)."""

    class Result(Struct):
        class Config(Struct):
            class Synonym(Struct):
                name = String("1+")
                value = String("1+", nullable="0+")
                source = Int8("1+")

            name = String()
            value = String(nullable="0+")
            read_only = Bool()
            is_default = Bool("0")
            config_source = Int8("1+", default=-1, ignorable=True)
            is_sensitive = Bool()
            synonyms = Array(Synonym, "1+", ignorable=True)
            config_type = Int8("3+", ignorable=True)
            documentation = String("3+", nullable="0+", ignorable=True)

        error_code = Int16()
        error_message = String(nullable="0+")
        resource_type = Int8()
        resource_name = String()
        configs = Array(Config)

    throttle_time_ms = Int32()
    results = Array(Result)
