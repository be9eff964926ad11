"""SaslAuthenticate: its request and its response."""

from pykbroker.protocol.message import Bytes, Int16, Int64, Message, String


class SaslAuthenticateRequest(Message, key=36, versions="0-2", flexible="2+"):
    """One step of the mechanism's exchange, from handshake version 1 on (KIP-152)."""

    auth_bytes = Bytes()


class SaslAuthenticateResponse(Message, key=36, versions="0-2", flexible="2+"):
    """The server's step, and how long the session may last (KIP-368)."""

    error_code = Int16()
    error_message = String(nullable="0+")
    auth_bytes = Bytes()
    session_lifetime_ms = Int64("1+", ignorable=True)
