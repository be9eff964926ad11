"""PushTelemetry: its request and its response."""

from pykbroker.protocol.message import Bool, Bytes, Int8, Int16, Int32, Message, Uuid


class PushTelemetryRequest(Message, key=72, versions="0", flexible="0+"):
    """A client's metrics, as OTLP (KIP-714)."""

    client_instance_id = Uuid()
    subscription_id = Int32()
    terminating = Bool()
    compression_type = Int8()
    metrics = Bytes()


class PushTelemetryResponse(Message, key=72, versions="0", flexible="0+"):
    """Whether they were taken."""

    throttle_time_ms = Int32()
    error_code = Int16()
