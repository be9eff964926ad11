"""Envelope: its request and its response."""

from pykbroker.protocol.message import Bytes, Int16, Message


class EnvelopeRequest(Message, key=58, versions="0", flexible="0+"):
    """A broker forwards a client's request to the controller (KIP-590)."""

    request_data = Bytes()
    request_principal = Bytes(nullable="0+")
    client_host_address = Bytes()


class EnvelopeResponse(Message, key=58, versions="0", flexible="0+"):
    """The controller's answer, as the client shall have it."""

    response_data = Bytes(nullable="0+", default=None)
    error_code = Int16()
