"""The headers before every request and response, and which version of them belongs to a message.

It knows Kafka's two exceptions: the response header of ApiVersions, and the request header of ControlledShutdown 0.
"""

from __future__ import annotations

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.message import Int16, Int32, Message, String
from pykbroker.protocol.messages import message_classes


class RequestHeader(Message, versions="0-2", flexible="2+"):
    """Version 2 is for flexible requests, 0 for ControlledShutdown 0; its client id is never compact."""

    request_api_key = Int16()
    request_api_version = Int16()
    correlation_id = Int32()
    client_id = String("1+", nullable="1+", ignorable=True, flexible="none")


class ResponseHeader(Message, versions="0-1", flexible="1+"):
    """Version 1 for flexible responses, except that of ApiVersions."""

    correlation_id = Int32()


def request_header_version(key: int, version: int) -> int:
    """The request header's version. Raises ValueError for a key that Kafka doesn't have."""
    if key == ApiKey.CONTROLLED_SHUTDOWN and version == 0:
        return 0
    return 2 if version in message_classes(key)[0].flexible else 1


def response_header_version(key: int, version: int) -> int:
    """The response header's version. Raises ValueError for a key that Kafka doesn't have."""
    # A client that asks for a version too new must be able to read the answer (KIP-511).
    if key == ApiKey.API_VERSIONS:
        return 0
    return 1 if version in message_classes(key)[1].flexible else 0
