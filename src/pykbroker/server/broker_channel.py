"""Connections from this broker to its peers: one for each peer and purpose, made on demand and again after a failure.

Decides when a connection is given up: an answer that doesn't come in time, a cancelled request, anything unreadable.
A peer answers in order, so requests may follow each other without waiting; whoever is next reads. It retries nothing:
who asks knows whether that is safe.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self

import trio

from pykbroker.cluster.image import Endpoint
from pykbroker.config.broker import BrokerConfig
from pykbroker.protocol.connection import decode_response, encode_request
from pykbroker.protocol.errors import ErrorCode, MalformedMessage
from pykbroker.protocol.message import Message, as_bytes
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.versions import Versions
from pykbroker.server.metadata_cache import MetadataCache

log = logging.getLogger(__name__)

API_VERSIONS_VERSION = 3
FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 1.0
MAX_ANSWER_BYTES = 1 << 30
SIZE_BYTES = 4


class ChannelError(OSError):
    """A peer can't be reached, broke off, or didn't answer in time: whether it acted on the request isn't known."""


Connector = Callable[[int, Endpoint], Awaitable[trio.abc.Stream]]
"""Opens a connection to a broker, given its id and where it is. Raises OSError."""


async def connect(broker_id: int, endpoint: Endpoint) -> trio.abc.Stream:
    """A plain TCP connection. Raises OSError."""
    return await trio.open_tcp_stream(endpoint.host, endpoint.port)


class BrokerChannels:
    """This broker's connections to its peers, by peer and purpose: what waits long must not hold up what doesn't."""

    def __init__(self, config: BrokerConfig, metadata: MetadataCache, connector: Connector = connect) -> None:
        self.config = config
        self.connector = connector
        self._metadata = metadata
        self._channels: dict[tuple[int, str], BrokerChannel] = {}

    def channel(self, broker_id: int, purpose: str, endpoint: Endpoint | None = None) -> BrokerChannel:
        """The channel to a broker for one purpose (`controller`, `fetcher-0`): always the same one.

        Its connections go to `endpoint`, for who knows better than the metadata cache, else to where that says.
        """
        found = self._channels.get((broker_id, purpose))
        if found is None:
            found = self._channels[broker_id, purpose] = BrokerChannel(self, broker_id, purpose)
        found.endpoint = endpoint
        return found

    def endpoint(self, broker_id: int) -> Endpoint:
        """Where a broker's inter-broker listener is. Raises ChannelError for one that isn't known (to be alive)."""
        endpoint = self._metadata.inter_broker_endpoint(broker_id)
        if endpoint is None:
            raise ChannelError(f"broker {broker_id} isn't known to be alive")
        return endpoint

    async def aclose(self) -> None:
        """Ends all connections; a later request makes a new one."""
        for channel in self._channels.values():
            await channel.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            await self.aclose()


class BrokerChannel:
    """Requests to one peer for one purpose."""

    def __init__(self, channels: BrokerChannels, broker_id: int, purpose: str) -> None:
        self.broker_id = broker_id
        self.endpoint: Endpoint | None = None
        self._channels = channels
        self._client_id = f"broker-{channels.config.node_id}-{purpose}"
        self._connection: _Connection | None = None
        self._connecting = trio.Lock()
        self._backoff = 0.0
        self._not_before = 0.0

    async def request(
        self, request: Message, version: int | None = None, *, highest: int | None = None, timeout: float | None = None
    ) -> Any:
        """Sends a request and returns its answer; connects first where need be.

        Without a `version` it is the highest that both sides know, at most `highest`. `timeout` in seconds, connecting
        included; by default `replica.socket.timeout.ms`. Raises ChannelError.
        """
        seconds = self._channels.config.replica_socket_timeout_ms / 1000 if timeout is None else timeout
        with trio.move_on_after(seconds):
            connection = await self._connected()
            try:
                if version is None:
                    version = await self._negotiated(connection, type(request), highest)
                answer = await connection.ask(request, version, self._client_id)
            except (OSError, MalformedMessage, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise self._lost(connection, error) from error
            finally:
                if connection.broken:
                    await self._drop(connection)
            return answer
        raise ChannelError(f"broker {self.broker_id} did not answer {type(request).__name__} within {seconds:g} s")

    async def version(self, request: type[Message], highest: int | None = None) -> int:
        """The highest version of a request that both sides know; connects first. Raises ChannelError."""
        with trio.move_on_after(self._channels.config.replica_socket_timeout_ms / 1000):
            connection = await self._connected()
            try:
                return await self._negotiated(connection, request, highest)
            except (OSError, MalformedMessage, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise self._lost(connection, error) from error
            finally:
                if connection.broken:
                    await self._drop(connection)
        raise ChannelError(f"broker {self.broker_id} did not answer ApiVersions in time")

    async def aclose(self) -> None:
        """Ends the connection: requests in flight fail; a later one makes a new one."""
        if self._connection is not None:
            await self._drop(self._connection)

    async def _connected(self) -> _Connection:
        async with self._connecting:
            if self._connection is not None and not self._connection.broken:
                return self._connection
            await trio.sleep_until(self._not_before)
            endpoint = self.endpoint or self._channels.endpoint(self.broker_id)
            try:
                stream = await self._channels.connector(self.broker_id, endpoint)
            except (OSError, trio.BrokenResourceError) as error:
                self._backoff = min(max(2 * self._backoff, FIRST_BACKOFF_S), MAX_BACKOFF_S)
                self._not_before = trio.current_time() + self._backoff
                reason = f"can't connect to broker {self.broker_id} at {endpoint.host}:{endpoint.port}: {error}"
                raise ChannelError(reason) from error
            self._backoff = 0.0
            self._connection = _Connection(stream)
            return self._connection

    async def _negotiated(self, connection: _Connection, request: type[Message], highest: int | None) -> int:
        if not connection.versions:
            asked = ApiVersionsRequest(client_software_name="pykbroker", client_software_version="1")
            answer = await connection.ask(asked, API_VERSIONS_VERSION, self._client_id)
            if answer.error_code != ErrorCode.NONE:
                raise ChannelError(f"ApiVersions was answered with error {answer.error_code}")
            connection.versions = {
                one.api_key: Versions(f"{one.min_version}-{one.max_version}") for one in answer.api_keys
            }
        known = connection.versions.get(request.key)
        version = -1 if known is None else min(known.high, request.versions.high, highest or known.high)
        if known is None or version < max(known.low, request.versions.low):
            raise ChannelError(f"broker {self.broker_id} has no version of {request.__name__} in common")
        return version

    def _lost(self, connection: _Connection, error: Exception) -> ChannelError:
        reason = str(error) or type(error).__name__
        return error if isinstance(error, ChannelError) else ChannelError(f"broker {self.broker_id}: {reason}")

    async def _drop(self, connection: _Connection) -> None:
        if self._connection is connection:
            self._connection = None
            self._not_before = trio.current_time() + self._backoff
        connection.fail()
        await trio.aclose_forcefully(connection.stream)


class _Connection:
    """An open connection, on which the answers come in the order of the requests."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.versions: dict[int, Versions] = {}
        self.broken = False
        self._sending = trio.Lock()
        self._correlation_id = 0
        self._turns: deque[trio.Event] = deque()
        """One for each request without its answer; the first one's owner reads next."""

    async def ask(self, request: Message, version: int, client_id: str) -> Any:
        """Sends a request, and reads its answer when those before it are read.

        Anything but an answer breaks the connection, for those behind too. Raises OSError, MalformedMessage.
        """
        turn = trio.Event()
        try:
            async with self._sending:
                self._correlation_id = correlation_id = (self._correlation_id + 1) & 0x7FFFFFFF
                pieces = encode_request(request, version, correlation_id, client_id)
                self._turns.append(turn)
                if self._turns[0] is turn:
                    turn.set()
                await self.stream.send_all(b"".join(map(as_bytes, pieces)))
            await turn.wait()
            if self.broken:
                raise ChannelError("the connection broke")
            answered, answer = decode_response(await self._frame(), type(request).key, version)
            if answered != correlation_id:
                raise ChannelError(f"answer {answered} came to request {correlation_id}")
        except BaseException:
            self.fail()
            raise
        self._turns.popleft()
        if self._turns:
            self._turns[0].set()
        return answer

    async def _frame(self) -> memoryview:
        size = int.from_bytes(await self._exactly(SIZE_BYTES), "big", signed=True)
        if not 0 <= size <= MAX_ANSWER_BYTES:
            raise ChannelError(f"an answer of {size} bytes")
        return await self._exactly(size)

    async def _exactly(self, size: int) -> memoryview:
        """So many bytes, in memory of their own: records are written to the log from where they arrived."""
        view = memoryview(bytearray(size))
        filled = 0
        plain = self.stream.socket if isinstance(self.stream, trio.SocketStream) else None
        while filled < size:
            if plain is not None:
                count = await plain.recv_into(view[filled:])
            else:
                data = await self.stream.receive_some(size - filled)
                count = len(data)
                view[filled : filled + count] = data
            if not count:
                raise ChannelError("closed by the peer")
            filled += count
        return view

    def fail(self) -> None:
        """Nothing more is sent or read: every request that waits fails."""
        self.broken = True
        for turn in self._turns:
            turn.set()
