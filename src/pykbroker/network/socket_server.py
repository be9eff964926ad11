"""The broker's listeners and connections: bind, accept, watch, drain; listeners may come and go meanwhile (KIP-226).

Decides which connections are cut: `connections.max.idle.ms` ends the unused, the half-sent and the unread, a listener
that goes takes its own along, and the quietest make room where there are too many. How many may be is
`connection_limits`', what happens on one `connection`'s.
"""

from __future__ import annotations

import heapq
import logging
import math
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from pykbroker.config.keys import ConfigError
from pykbroker.config.listeners import unmapped
from pykbroker.network.connection import Connection
from pykbroker.network.connection_limits import ConnectionLimits, ListenerSlots
from pykbroker.network.dispatch import Dispatcher, Peer
from pykbroker.network.listener import SYSTEMS_OWN, accept, bind, close, size_buffers
from pykbroker.network.listener_security import ListenerSecurity

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig
    from pykbroker.config.listeners import Listener

log = logging.getLogger(__name__)

AUTHENTICATION_SECONDS = 60.0
"""Who hasn't proved itself may wait so long between two messages; Kafka has `connections.max.idle.ms` alone for it."""
LEAVE_SECONDS = 1.0
"""How long requests in hand on a listener that is removed may take."""
SEND_BUFFER_BYTES = 200_000
"""Unless configured. With Kafka's default, 102400, an answer leaves in twice as many pieces, each a turn of the loop;
with all that the system would grant, megabytes have left the processor's caches before the client reads them."""


@dataclass
class _Bound:
    """A listener with its sockets; whoever accepts on them ends when they are closed."""

    listener: Listener
    sockets: list[socket.socket]

    @property
    def port(self) -> int:
        port: int = self.sockets[0].getsockname()[1]
        return port

    def serves(self, listener: Listener) -> bool:
        """Whether this is what is wanted: where any port was, the one that was free is as good."""
        return listener in (self.listener, self.listener._replace(port=self.port))

    def close(self) -> None:
        for sock in self.sockets:
            trio.lowlevel.notify_closing(sock)
            close(sock)


@dataclass
class _Serving:
    """What a listener needs to serve."""

    dispatcher: Dispatcher
    security: Callable[[Listener], ListenerSecurity]
    listeners: trio.Nursery
    connections: trio.Nursery


class SocketServer:
    """All listeners of a broker. `bind` first, `serve` when everything behind them is ready."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._bound: dict[str, _Bound] = {}
        self._serving: _Serving | None = None
        self._connections: set[Connection] = set()
        self._accepted = 0
        self.limits = ConnectionLimits(config)
        self._done = trio.Event()
        self._held_until = trio.Event()

    # ---- listeners -------------------------------------------------------------------------------------------------

    def bind(self, listeners: Sequence[Listener]) -> None:
        """Takes these listeners' ports and gives back those of others, without listening before `serve`.

        Raises OSError with `strerror` and the address, and ConfigError for certificates that can't be used.
        """
        for bound in [one for one in self._bound.values() if not any(map(one.serves, listeners))]:
            self._remove(self._bound.pop(bound.listener.name))
        for listener in self._missing(listeners):
            bound = _Bound(listener, bind(listener.host, listener.port))
            if self._serving is not None:
                try:
                    self._open(bound, self._serving)
                except BaseException:
                    bound.close()
                    raise
            self._bound[listener.name] = bound

    def check(self, listeners: Sequence[Listener]) -> None:
        """Whether the ports of listeners that aren't there yet could be had. Raises OSError as `bind` does."""
        going = {bound.port for bound in self._bound.values() if not any(map(bound.serves, listeners))}
        for listener in self._missing(listeners):
            if listener.port not in going:
                for sock in bind(listener.host, listener.port):
                    sock.close()

    def _missing(self, listeners: Sequence[Listener]) -> list[Listener]:
        return [one for one in listeners if not any(bound.serves(one) for bound in self._bound.values())]

    def _config_changed(self, changed: frozenset[str]) -> None:
        if self._serving is None:
            return
        if "listeners" in changed or "listener.security.protocol.map" in changed:
            try:
                self.bind(self._config.broker_listeners)
            except (OSError, ConfigError) as error:
                log.error("listeners=%s can't be followed: %s", ",".join(self._config.listeners), error)
        self._make_room()

    def _open(self, bound: _Bound, serving: _Serving) -> None:
        security = serving.security(bound.listener)
        self.limits.slots(bound.listener.name)
        for sock in bound.sockets:
            size_buffers(sock, *self._buffers())
            sock.listen(self._config.socket_listen_backlog_size)
            serving.listeners.start_soon(self._accept, bound, sock, security, serving)

    def _buffers(self) -> tuple[int, int]:
        """Bytes to buffer for sending and for receiving: as configured, else what is fast here."""
        config = self._config
        return (
            config.socket_send_buffer_bytes if config.is_set("socket.send.buffer.bytes") else SEND_BUFFER_BYTES,
            config.socket_receive_buffer_bytes if config.is_set("socket.receive.buffer.bytes") else SYSTEMS_OWN,
        )

    def _remove(self, bound: _Bound) -> None:
        bound.close()
        name = bound.listener.name
        self.limits.remove(name)
        left = [one for one in self._connections if one.peer.listener == name]
        log.info("listener %s is gone, and its %d connections with it", name, len(left))
        for connection in left:
            connection.stop()
        if self._serving is not None:
            self._serving.connections.start_soon(self._end, left, LEAVE_SECONDS)

    @property
    def port(self) -> int:
        """The port of the first listener, as it was bound."""
        return self.ports()[self._config.broker_listeners[0].name]

    def ports(self) -> dict[str, int]:
        """Each listener's bound port: where 0 was asked for, the one that was free."""
        return {name: bound.port for name, bound in self._bound.items()}

    # ---- connections -----------------------------------------------------------------------------------------------

    async def serve(
        self,
        dispatcher: Dispatcher,
        security: Callable[[Listener], ListenerSecurity] | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listens, accepts and serves until cancelled; then no connection is left.

        From now on it follows its config. `security` says what a listener asks of its clients; without it they are
        asked nothing.
        """
        open_to_all = ListenerSecurity(self._config)
        try:
            async with trio.open_nursery() as connections, trio.open_nursery() as listeners:
                self._serving = _Serving(dispatcher, security or (lambda _: open_to_all), listeners, connections)
                for bound in self._bound.values():
                    self._open(bound, self._serving)
                self._config.subscribe(self._config_changed)
                listeners.start_soon(self._reap_idle)
                task_status.started()
        finally:
            self._serving = None
            self.close()

    async def drain(self, seconds: float) -> None:
        """Gives the ports back, lets requests in hand be answered for at most `seconds`, then closes what is left."""
        if self._serving is not None:
            self._serving.listeners.cancel_scope.cancel()
            self._serving = None
        self._held_until.set()
        self.close()
        await self._end(list(self._connections), seconds)

    async def _end(self, connections: Sequence[Connection], seconds: float) -> None:
        """Lets requests in hand be answered for at most `seconds`, then closes what is left of some connections."""
        for connection in connections:
            connection.stop()
        with trio.move_on_after(seconds):
            while not self._connections.isdisjoint(connections):
                await self._done.wait()
        for connection in connections:
            connection.close()

    def close(self) -> None:
        """Gives the ports back."""
        for bound in self._bound.values():
            bound.close()

    def _make_room(self) -> None:
        """Ends whoever has been quiet longest where there are more connections than may be (KIP-402)."""
        if not self.limits.excess():
            return
        going = sum(one.closing for one in self._connections)
        others = (
            one for one in self._connections if not one.closing and not self.limits.is_protected(one.peer.listener)
        )
        for one in heapq.nsmallest(self.limits.excess() - going, others, key=lambda one: one.last_used):
            log.info("connection from %s closed: over max.connections, and used least lately", one.peer.name)
            one.close()

    async def _accept(self, bound: _Bound, sock: socket.socket, security: ListenerSecurity, serving: _Serving) -> None:
        slots = self.limits.slots(bound.listener.name)

        def handle(connection: socket.socket) -> None:
            serving.connections.start_soon(self._serve, connection, bound, serving.dispatcher, security, slots)

        await accept(sock, slots, handle)

    async def _serve(
        self,
        sock: socket.socket,
        bound: _Bound,
        dispatcher: Dispatcher,
        security: ListenerSecurity,
        slots: ListenerSlots,
    ) -> None:
        held = False
        try:
            remote, local = _address(sock.getpeername()), _address(sock.getsockname())
            delay = self.limits.ip_delay(remote[0])
            if delay:
                log.debug("connection from %s held: over its quota connection_creation_rate", remote[0])
                slots.give_back()
                held = True
                await self._hold(delay)
                return
            self._accepted += 1
            peer = Peer(remote, local, bound.listener.name, self._accepted)
            await self._talk(security.connection(sock, peer, dispatcher), bound, remote[0])
        except OSError:  # Gone between accept and here.
            return
        finally:
            sock.close()
            if not held:
                slots.release()

    async def _talk(self, connection: Connection, bound: _Bound, ip: str) -> None:
        self._connections.add(connection)
        if self._held_until.is_set():
            connection.stop()  # Accepted just before the draining began, which hasn't seen it.
        try:
            over = self.limits.opened(ip)
            if over is not None:
                log.warning("connection from %s closed: over %s", connection.peer.name, over)
                connection.close()
            elif self._bound.get(bound.listener.name) is not bound:  # The listener went between accept and here.
                connection.close()
            self._make_room()
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self.limits.closed(ip)
            if self._done.statistics().tasks_waiting:
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
