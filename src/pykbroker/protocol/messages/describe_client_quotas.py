"""DescribeClientQuotas: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Float64, Int8, Int16, Int32, Message, String, Struct


class DescribeClientQuotasRequest(Message, key=48, versions="0-1", flexible="1+"):
    """Entities to match (KIP-546)."""

    class Component(Struct):
        entity_type = String()
        match_type = Int8()
        match = String(nullable="0+")

    components = Array(Component)
    strict = Bool()


class DescribeClientQuotasResponse(Message, key=48, versions="0-1", flexible="1+"):
    """The quotas of each entity."""

    class Entry(Struct):
        class Entity(Struct):
            entity_type = String()
            entity_name = String(nullable="0+")

        class Value(Struct):
            key = String()
            value = Float64()

        entity = Array(Entity)
        values = Array(Value)

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+")
    entries = Array(Entry, nullable="0+")
