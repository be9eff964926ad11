"""SaslHandshake: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Message, String


class SaslHandshakeRequest(Message, key=17, versions="0-1"):
    """The mechanism that the client wants; after version 0 raw tokens follow (KIP-43)."""

    mechanism = String()


class SaslHandshakeResponse(Message, key=17, versions="0-1"):
    """The mechanisms that the listener has."""

    error_code = Int16()
    mechanisms = Array(String)
