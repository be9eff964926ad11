"""UnregisterBroker: its request and its response."""

from pykbroker.protocol.message import Int16, Int32, Message, String


class UnregisterBrokerRequest(Message, key=64, versions="0", flexible="0+"):
    """A broker that won't come back."""

    broker_id = Int32()


class UnregisterBrokerResponse(Message, key=64, versions="0", flexible="0+"):
    """Whether the controller took it."""

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+")
