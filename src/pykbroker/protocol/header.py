"""x"""

from pykbroker.protocol.message import Int16, Int32, Message, String


class RequestHeader(Message, versions="0-2", flexible="2+"):
    """Version 2 is for flexible requests, 0 for ControlledShutdown 0, 1 for the rest; its client id is never compact."""

    request_api_key = Int16()
    request_api_version = Int16()
    correlation_id = Int32()
    client_id = String("1+", nullable="1+", ignorable=True, flexible="none")


class ResponseHeader(Message, versions="0-1", flexible="1+"):
    """Version 1 for flexible responses, except that of ApiVersions."""

    correlation_id = Int32()
