"""The broker's listeners and connections: bind, accept, watch, drain.

Decides which connections are cut: `connections.max.idle.ms` ends the unused, the half-sent and the unread. How many may
be is `connection_limits`', what happens on one `connection`'s.
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from pykbroker.config.listeners import unmapped
from pykbroker.network.connection import Connection
from pykbroker.network.connection_limits import ConnectionLimits, ListenerSlots
from pykbroker.network.dispatch import Dispatcher, Peer
from pykbroker.network.listener import accept, bind
from pykbroker.network.listener_security import ListenerSecurity

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig
    from pykbroker.config.listeners import Listener

log = logging.getLogger(__name__)

AUTHENTICATION_SECONDS = 60.0
"""Who hasn't proved itself may wait so long between two messages; Kafka has `connections.max.idle.ms` alone for it."""


class SocketServer:
    """All listeners of a broker. `bind` first, `serve` when everything behind them is ready."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._listeners: list[tuple[str, socket.socket]] = []
        self._connections: set[Connection] = set()
        self._accepted = 0
        self.limits = ConnectionLimits(config)
        self._done = trio.Event()
        self._held_until = trio.Event()

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
        self,
        dispatcher: Dispatcher,
        security: Mapping[str, ListenerSecurity] | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listens, accepts and serves until cancelled; then no connection is left.

        `security` has what each listener asks of its clients, by name; without it they are asked nothing.
        """
        open_to_all = ListenerSecurity(self._config)
        security = security if security is not None else {name: open_to_all for name, _ in self._listeners}
        for _, sock in self._listeners:
            sock.listen(self._config.socket_listen_backlog_size)
        try:
            async with trio.open_nursery() as connections, trio.open_nursery() as listeners:
                self._accepting = listeners.cancel_scope
                listeners.start_soon(self._reap_idle)
                for name, sock in self._listeners:
                    listeners.start_soon(self._accept, name, sock, dispatcher, security[name], connections)
                task_status.started()
        finally:
            self.close()

    async def drain(self, seconds: float) -> None:
        """Gives the ports back, lets requests in hand be answered for at most `seconds`, then closes what is left."""
        self._accepting.cancel()
        self._held_until.set()
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

    async def _accept(
        self,
        name: str,
        sock: socket.socket,
        dispatcher: Dispatcher,
        security: ListenerSecurity,
        connections: trio.Nursery,
    ) -> None:
        slots = self.limits.slots(name)

        def handle(connection: socket.socket) -> None:
            connections.start_soon(self._serve, connection, name, dispatcher, security, slots)

        await accept(sock, slots, handle)

    async def _serve(
        self,
        sock: socket.socket,
        listener: str,
        dispatcher: Dispatcher,
        security: ListenerSecurity,
        slots: ListenerSlots,
    ) -> None:
        try:
            remote, local = _address(sock.getpeername()), _address(sock.getsockname())
        except OSError:  # Gone between accept and here.
            sock.close()
            slots.release()
            return
        self._accepted += 1
        connection = security.connection(sock, Peer(remote, local, listener, self._accepted), dispatcher)
        self._connections.add(connection)
        if self._held_until.is_set():
            connection.stop()  # Accepted just before the draining began, which hasn't seen it.
        try:
            over = self.limits.opened(remote[0])
            if over is not None:
                log.warning("connection from %s closed: over %s", connection.peer.name, over)
                connection.close()
            elif delay := self.limits.ip_delay(remote[0]):
                log.debug("connection from %s held: over its quota connection_creation_rate", connection.peer.name)
                await self._hold(delay)
                connection.stop()
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self.limits.closed(remote[0])
            slots.release()
            if not self._connections:
                self._done.set()
                self._done = trio.Event()

    async def _hold(self, seconds: float) -> None:
        """Makes who comes too often wait for its end: closed at once it would only come again."""
        with trio.move_on_after(seconds):
            await self._held_until.wait()

    async def _reap_idle(self) -> None:
        """Cuts those who ask nothing, don't finish what they began, or take no answers, once it has been too long.

        It sleeps until the first of them is due; 10 minutes by default, so this is no polling.
        """
        limit = self._config.connections_max_idle_ms / 1000
        if limit < 0:
            limit = math.inf
        while True:
            now = trio.current_time()
            due = now + min(limit, AUTHENTICATION_SECONDS)
            for connection in tuple(self._connections):
                since = connection.waits_since
                allowed = limit if connection.authenticated else min(limit, AUTHENTICATION_SECONDS)
                if since is None or allowed == math.inf:
                    continue
                if now - since >= allowed:
                    log.debug("connection from %s closed: idle for %.0f s", connection.peer.name, allowed)
                    connection.close()
                else:
                    due = min(due, since + allowed)
            await trio.sleep(max(due - now, min(limit, AUTHENTICATION_SECONDS) / 10, 0.01))


def _address(address: tuple[str, int]) -> tuple[str, int]:
    """Host and port as a client would write them."""
    return unmapped(address[0]), address[1]
