"""The broker's listeners and connections: bind, accept, watch, drain.

Decides which connections may be: `max.connections` holds back accepting, `max.connections.per.ip` closes what is over
it at once, `connections.max.idle.ms` ends the unused. What happens on a connection is `connection`'s.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from pykbroker.config.keys import split
from pykbroker.config.listeners import unmapped
from pykbroker.network.connection import Connection
from pykbroker.network.dispatch import Dispatcher, Peer
from pykbroker.network.listener import accept, bind

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig
    from pykbroker.config.listeners import Listener

log = logging.getLogger(__name__)


class SocketServer:
    """All listeners of a broker. `bind` first, `serve` when everything behind them is ready."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._listeners: list[tuple[str, socket.socket]] = []
        self._connections: set[Connection] = set()
        self._per_ip: Counter[str] = Counter()
        self._accepted = 0
        self._slots = trio.Semaphore(config.max_connections)
        self._limits = _limits_per_ip(config.max_connections_per_ip_overrides)
        self._done = trio.Event()

    def bind(self, listeners: Sequence[Listener]) -> None:
        """Takes the listeners' ports, without listening yet. Raises OSError with `strerror` and the address."""
        for listener in listeners:
            for sock in bind(listener.host, listener.port):
                self._listeners.append((listener.name, sock))

    @property
    def port(self) -> int:
        """The port of the first listener, as it was bound."""
        port: int = self._listeners[0][1].getsockname()[1]
        return port

    def ports(self) -> dict[str, int]:
        """Each listener's bound port: where 0 was asked for, the one that was free."""
        return {name: sock.getsockname()[1] for name, sock in self._listeners}

    async def serve(
        self, dispatcher: Dispatcher, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listens, accepts and serves until cancelled; then no connection is left."""
        for _, sock in self._listeners:
            sock.listen(self._config.socket_listen_backlog_size)
        try:
            async with trio.open_nursery() as connections, trio.open_nursery() as listeners:
                self._accepting = listeners.cancel_scope
                listeners.start_soon(self._reap_idle)
                for name, sock in self._listeners:
                    listeners.start_soon(self._accept, name, sock, dispatcher, connections)
                task_status.started()
        finally:
            self.close()

    async def drain(self, seconds: float) -> None:
        """Gives the ports back, lets requests in hand be answered for at most `seconds`, then closes what is left."""
        self._accepting.cancel()
        self.close()
        for connection in tuple(self._connections):
            connection.stop()
        with trio.move_on_after(seconds):
            while self._connections:
                await self._done.wait()
        for connection in tuple(self._connections):
            connection.close()

    def close(self) -> None:
        """Gives the ports back."""
        for _, sock in self._listeners:
            trio.lowlevel.notify_closing(sock)
            sock.close()

    async def _accept(self, name: str, sock: socket.socket, dispatcher: Dispatcher, connections: trio.Nursery) -> None:
        def handle(connection: socket.socket) -> None:
            connections.start_soon(self._serve, connection, name, dispatcher)

        await accept(sock, self._slots, handle)

    async def _serve(self, sock: socket.socket, listener: str, dispatcher: Dispatcher) -> None:
        try:
            remote, local = _address(sock.getpeername()), _address(sock.getsockname())
        except OSError:  # Gone between accept and here.
            sock.close()
            self._slots.release()
            return
        self._accepted += 1
        connection = Connection(
            sock, Peer(remote, local, listener, self._accepted), dispatcher, self._config.socket_request_max_bytes
        )
        ip = remote[0]
        self._per_ip[ip] += 1
        self._connections.add(connection)
        try:
            if self._per_ip[ip] > self._limits.get(ip, self._config.max_connections_per_ip):
                log.warning("connection from %s closed: over max.connections.per.ip", connection.peer.name)
                connection.close()
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self._per_ip[ip] -= 1
            if not self._per_ip[ip]:
                del self._per_ip[ip]
            self._slots.release()
            if not self._connections:
                self._done.set()
                self._done = trio.Event()

    async def _reap_idle(self) -> None:
        """Sleeps until the connection longest unused is due; 10 minutes by default, so this is no polling."""
        limit = self._config.connections_max_idle_ms / 1000
        if limit < 0:
            return
        while True:
            now = trio.current_time()
            for connection in tuple(self._connections):
                if connection.idle and now - connection.last_used >= limit:
                    log.debug("connection from %s closed: idle for %.0f s", connection.peer.name, limit)
                    connection.close()
            oldest = min((c.last_used for c in self._connections if c.idle), default=now)
            await trio.sleep(max(oldest + limit - now, limit / 10, 0.01))


def _limits_per_ip(overrides: str) -> dict[str, int]:
    """`max.connections.per.ip.overrides` (`HOST:COUNT,…`) by address; what can't be read is logged and left out."""
    limits: dict[str, int] = {}
    for override in split(overrides):
        host, _, count = override.rpartition(":")
        try:
            addresses = {str(found[4][0]) for found in socket.getaddrinfo(host.strip("[]"), None)}
            limits |= dict.fromkeys(addresses, int(count))
        except (ValueError, OSError) as error:
            log.warning("max.connections.per.ip.overrides: %r is left out, expected HOST:COUNT: %s", override, error)
    return limits


def _address(address: tuple[str, int]) -> tuple[str, int]:
    """Host and port as a client would write them."""
    return unmapped(address[0]), address[1]
