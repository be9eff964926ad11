"""A bare connection to a broker in pykbroker's own encoding, and answers shown so that two brokers' can be compared.

What differs from run to run is masked: ids, ports, times. Not shown are fields that hold their default, and texts of
errors, which are everyone's own.
"""

from __future__ import annotations

import socket
import struct
import uuid
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from pykbroker.protocol.connection import decode_response, encode_request
from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.sasl_authenticate import SaslAuthenticateRequest
from pykbroker.protocol.messages.sasl_handshake import SaslHandshakeRequest

CLIENT = "wire"
SECONDS = 15
NO_ANSWER = "closed without an answer"
NOT_SHOWN = {"throttle_time_ms", "error_message", "batch_index_error_message"}
MASKED = {"topic_id", "cluster_id", "port", "session_id", "producer_id", "log_append_time_ms"}


class Wire:
    """One connection; ask() sends a request and waits for its answer."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=SECONDS)
        self._answers = self._socket.makefile("rb")
        self._correlation_id = 0

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._answers.close()
        self._socket.close()

    def log_in(self, user: str, password: str) -> None:
        """With PLAIN; raises AssertionError where that isn't so."""
        token = f"\0{user}\0{password}".encode()
        for request, version in (
            (SaslHandshakeRequest(mechanism="PLAIN"), 1),
            (SaslAuthenticateRequest(auth_bytes=token), 2),
        ):
            answer = self.ask(request, version)
            assert answer is not None, user
            assert answer.error_code == 0, answer

    def send(self, request: Message, version: int) -> None:
        self._correlation_id += 1
        pieces = encode_request(request, version, self._correlation_id, CLIENT)
        self._socket.sendall(b"".join(bytes(piece) for piece in pieces))

    def send_raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._socket.sendall(data)

    def send_bytes(self, frame: bytes) -> None:
        """A frame as it is, the size in front added."""
        self._socket.sendall(struct.pack(">i", len(frame)) + frame)

    def frame(self) -> bytes | None:
        """The next frame; None when the broker has closed the connection."""
        try:
            size = self._answers.read(4)
            return self._answers.read(struct.unpack(">i", size)[0]) if len(size) == 4 else None
        except ConnectionResetError:
            return None

    def ask(self, request: Message, version: int) -> Any:
        """The decoded answer; None when the broker closes instead."""
        self.send(request, version)
        frame = self.frame()
        return None if frame is None else decode_response(frame, type(request).key, version)[1]


def shown(value: Any, names: Iterable[tuple[str, str]] = ()) -> str:
    """A message or a part of one as text; `names` are texts to be replaced, such as a run's prefix of topics."""
    text = _shown(value)
    for name, replacement in names:
        text = text.replace(name, replacement)
    return text


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, bytes | memoryview | bytearray):
        return f"<{len(value)} bytes>"
    if isinstance(value, str | int | float | uuid.UUID):
        return str(value)
    return _shown_fields(value)


def _shown_fields(value: Any) -> str:
    default = type(value)()
    fields = []
    for name in value.__slots__:
        field = getattr(value, name)
        if name in NOT_SHOWN or field == getattr(default, name):
            continue
        fields.append(f"{name}={'<*>' if name in MASKED and field is not None else _shown(field)}")
    return "{" + " ".join(fields) + "}"
