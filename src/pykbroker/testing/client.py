"""A wire client for tests: one connection, any message in any version, one after the other or pipelined.

It is no Kafka client: it finds no leader, retries nothing, and shows answers as they came.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pykbroker.protocol.connection import decode_response, encode_request
from pykbroker.protocol.message import Message, as_bytes

if TYPE_CHECKING:
    import ssl

TIMEOUT = 30.0


class WireClient:
    """A blocking connection: `with WireClient(host, port) as client: client.request(MetadataRequest(), 12)`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        client_id: str | None = "wire-client",
        timeout: float = TIMEOUT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        self._client_id = client_id
        self._correlation_id = 0

    def send(self, request: Message, version: int, correlation_id: int | None = None) -> int:
        """Sends a request and returns its correlation id."""
        if correlation_id is None:
            self._correlation_id += 1
            correlation_id = self._correlation_id
        pieces = encode_request(request, version, correlation_id, self._client_id)
        self.socket.sendall(b"".join(map(as_bytes, pieces)))
        return correlation_id

    def receive(self, key: int, version: int) -> tuple[int, Any]:
        """The next answer, read as one to a request of this key and version: its correlation id, and the message."""
        return decode_response(self.receive_frame(), key, version)

    def receive_frame(self) -> bytes:
        """The next frame without its size; raises ConnectionError where the broker closed."""
        return self._exactly(int.from_bytes(self._exactly(4), "big"))

    def request(self, request: Message, version: int) -> Any:
        """Sends a request and waits for its answer."""
        correlation_id = self.send(request, version)
        answered, response = self.receive(type(request).key, version)
        if answered != correlation_id:
            raise ConnectionError(f"answer {answered} to request {correlation_id}")
        return response

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise ConnectionError("closed by the broker")
            data += piece
        return bytes(data)

    def close(self) -> None:
        """Closes the connection."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
