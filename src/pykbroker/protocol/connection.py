"""A connection's frames, without the connection: requests out of them, responses into them, and the other way round.

A frame here is what follows the four bytes of its size. What is made to be sent has the size in front, and comes in
pieces: record bytes stay as they were given. It reads no socket and keeps no state.
"""

from __future__ import annotations

import struct
from typing import Any

from pykbroker.protocol.codec import Codec
from pykbroker.protocol.cursor import Writer
from pykbroker.protocol.errors import MalformedMessage, UnsupportedRequest
from pykbroker.protocol.header import (
    RequestHeader,
    ResponseHeader,
    request_header_version,
    response_header_version,
)
from pykbroker.protocol.message import Message, Piece
from pykbroker.protocol.messages import message_classes

_START = struct.Struct(">hhi")
_request_headers: dict[tuple[int, int], Codec] = {}
_SIZE = struct.Struct(">i")
_PLAIN_HEADER = struct.Struct(">i")
_TAGGED_HEADER = struct.Struct(">ix")


def parse_request_header(frame: bytes | bytearray | memoryview) -> tuple[RequestHeader, int]:
    """The header, and the offset of the request after it.

    Raises UnsupportedRequest for an unknown API key or version, MalformedMessage for bytes that are no header.
    """
    if len(frame) < _START.size:
        raise MalformedMessage(f"request header: needs {_START.size} bytes, {len(frame)} left")
    key, version, correlation_id = _START.unpack_from(frame)
    codec = _request_headers.get((key, version)) or _request_header(key, version, correlation_id)
    return codec.decode(frame)


def _request_header(key: int, version: int, correlation_id: int) -> Codec:
    """The header's codec, kept for the next request; unknown keys and versions are never kept."""
    try:
        known = message_classes(key)[0].versions
    except ValueError:
        raise UnsupportedRequest(key, version, correlation_id, f"unknown API key {key}") from None
    if version not in known:
        reason = f"API key {key} has versions {known}, not {version}"
        raise UnsupportedRequest(key, version, correlation_id, reason)
    found = _request_headers[key, version] = RequestHeader.codec(request_header_version(key, version))
    return found


def decode_request(frame: bytes | bytearray | memoryview) -> tuple[RequestHeader, Message]:
    """The header and the request. Raises MalformedMessage, UnsupportedRequest."""
    header, offset = parse_request_header(frame)
    request = message_classes(header.request_api_key)[0]
    return header, request.decode(frame, header.request_api_version, offset)


class Encoded:
    """A response that is encoded once and sent many times, to requests of one version."""

    __slots__ = ("body", "key")

    def __init__(self, response: Message, version: int) -> None:
        self.key = type(response).key
        self.body = response.encode(version)

    def encode(self, version: int) -> bytes:
        """As a message has it, for the version that it was made for."""
        return self.body


Answer = Message | Encoded


def encode_response(correlation_id: int, response: Answer, version: int) -> list[Piece]:
    """A response to send. Raises UnbuildableMessage."""
    if isinstance(response, Encoded):
        begin = _response_header(response.key, version).pack(correlation_id)
        return [_SIZE.pack(len(begin) + len(response.body)) + begin, response.body]
    return _framed(_response_header(type(response).key, version).pack(correlation_id), response, version)


def _response_header(key: int, version: int) -> struct.Struct:
    return _TAGGED_HEADER if response_header_version(key, version) else _PLAIN_HEADER


def encode_request(request: Message, version: int, correlation_id: int, client_id: str | None) -> list[Piece]:
    """A request to send. Raises UnbuildableMessage."""
    key = type(request).key
    header = RequestHeader(
        request_api_key=key, request_api_version=version, correlation_id=correlation_id, client_id=client_id
    )
    return _framed(header.encode(request_header_version(key, version)), request, version)


def decode_response(frame: bytes | bytearray | memoryview, key: int, version: int) -> tuple[int, Message]:
    """The correlation id, and the response to a request of that key and version. Raises MalformedMessage."""
    header, offset = ResponseHeader.decode_from(frame, response_header_version(key, version))
    return header.correlation_id, message_classes(key)[1].decode(frame, version, offset)


def _framed(header: bytes, message: Message, version: int) -> list[Any]:
    out = Writer()
    out.parts += [b"", header]
    type(message).codec(version).write(message, out)
    out.parts[0] = _SIZE.pack(sum(map(len, out.parts)))
    return out.pieces()
