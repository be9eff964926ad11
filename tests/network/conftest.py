"""A socket server in the test's own loop, with handlers made for tests behind it, and clients that speak frames."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.live import LiveConfig
from pykbroker.network.dispatch import Dispatcher
from pykbroker.network.socket_server import SocketServer
from pykbroker.protocol.connection import decode_response, encode_request
from pykbroker.protocol.message import Message, as_bytes
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from pykbroker.protocol.messages.list_groups import ListGroupsRequest
from pykbroker.server.request import Handler, RequestContext, handles


class Client:
    """One connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._received = bytearray()

    async def send(self, request: Message, version: int = 0, correlation_id: int = 1) -> None:
        pieces = encode_request(request, version, correlation_id, "test")
        await self.send_bytes(b"".join(map(as_bytes, pieces)))

    async def send_bytes(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self, key: int, version: int = 0) -> tuple[int, Any]:
        """The next answer's correlation id, and the answer."""
        frame = await self._exactly(int.from_bytes(await self._exactly(4), "big"))
        return decode_response(frame, key, version)

    async def ask(self, request: Message, version: int = 0) -> Any:
        await self.send(request, version)
        return (await self.receive(type(request).key, version))[1]

    async def closed(self) -> bool:
        """Waits for the server's end of the connection; False where it says something before."""
        try:
            return not self._received and await self.stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True

    async def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            data = await self.stream.receive_some()
            assert data, "closed by the server"
            self._received += data
        piece = bytes(self._received[:size])
        del self._received[:size]
        return piece


class Behind:
    """What the test's handlers do and have seen."""

    def __init__(self) -> None:
        self.contexts: list[RequestContext] = []
        self.serving = trio.Event()
        self.go_on = trio.Event()
        self.api_keys: list[ApiVersionsResponse.ApiKey] = []

    def handlers(self) -> dict[int, Handler]:
        @handles(ApiVersionsRequest, "0-4")
        async def api_versions(request: ApiVersionsRequest, context: RequestContext) -> ApiVersionsResponse:
            """Answers at once."""
            self.contexts.append(context)
            return ApiVersionsResponse(api_keys=self.api_keys)

        @handles(HeartbeatRequest, "0-4")
        async def heartbeat(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse | None:
            """Answers when the test says so; for the group `silent` not at all."""
            if request.group_id == "silent":
                return None
            self.serving.set()
            await self.go_on.wait()
            return HeartbeatResponse()

        @handles(ListGroupsRequest, "0-1")
        async def list_groups(request: ListGroupsRequest, context: RequestContext) -> None:
            """Fails."""
            raise ZeroDivisionError

        return {handler.request.key: handler for handler in (api_versions, heartbeat, list_groups)}


class Serving:
    """A server that serves, and clients of it."""

    def __init__(self, config: LiveConfig, server: SocketServer, behind: Behind, nursery: trio.Nursery) -> None:
        self.config = config
        self.server = server
        self.behind = behind
        self.nursery = nursery
        self.clients: list[Client] = []

    async def connect(self, host: str = "127.0.0.1", listener: str = "PLAINTEXT") -> Client:
        """A client, closed with the server."""
        client = Client(await trio.open_tcp_stream(host, self.server.ports()[listener]))
        self.clients.append(client)
        return client


@pytest.fixture
def serve() -> Callable[..., AbstractAsyncContextManager[Serving]]:
    """`async with serve(**{"max.connections": 2}) as serving`."""

    @asynccontextmanager
    async def serve(**properties: object) -> AsyncIterator[Serving]:
        values = {"listeners": "PLAINTEXT://127.0.0.1:0"} | {key: str(value) for key, value in properties.items()}
        config = LiveConfig(BrokerConfig.from_properties(values))
        server, behind = SocketServer(config), Behind()
        server.bind(config.broker_listeners)
        dispatcher = Dispatcher(None, behind.handlers())  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, dispatcher)
            serving = Serving(config, server, behind, nursery)
            try:
                yield serving
            finally:
                for client in serving.clients:
                    client.stream.socket.close()
                nursery.cancel_scope.cancel()

    return serve
