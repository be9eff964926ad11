"""AlterClientQuotas: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Float64, Int16, Int32, Message, String, Struct


class AlterClientQuotasRequest(Message, key=49, versions="0-1", flexible="1+"):
    """Quotas to set or remove."""

    class Entry(Struct):
        class Entity(Struct):
            entity_type = String()
            entity_name = String(nullable="0+")

        class Op(Struct):
            key = String()
            value = Float64()
            remove = Bool()

        entity = Array(Entity)
        ops = Array(Op)

    entries = Array(Entry)
    validate_only = Bool()


class AlterClientQuotasResponse(Message, key=49, versions="0-1", flexible="1+"):
    """An error per entity."""

    class Entry(Struct):
        class Entity(Struct):
            entity_type = String()
            entity_name = String(nullable="0+")

        error_code = Int16()
        error_message = String(nullable="0+")
        entity = Array(Entity)

    throttle_time_ms = Int32()
    entries = Array(Entry)
