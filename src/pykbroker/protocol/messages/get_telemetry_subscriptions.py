"""GetTelemetrySubscriptions: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Message, String, Uuid


class GetTelemetrySubscriptionsRequest(Message, key=71, versions="0", flexible="0+"):
    """A client asks which metrics it shall push (KIP-714)."""

    client_instance_id = Uuid()


class GetTelemetrySubscriptionsResponse(Message, key=71, versions="0", flexible="0+"):
    """The metrics, and how often."""

    throttle_time_ms = Int32()
    error_code = Int16()
    client_instance_id = Uuid()
    subscription_id = Int32()
    accepted_compression_types = Array(Int8)
    push_interval_ms = Int32()
    telemetry_max_bytes = Int32()
    delta_temporality = Bool()
    requested_metrics = Array(String)
