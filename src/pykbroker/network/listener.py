"""Binds a listener's sockets and accepts connections on them; what is done with one is the caller's.

Sockets are bound before anything is loaded, so that a port in use is known at once, and listened on when the broker
serves, so that nobody reaches a broker that isn't ready. `max.connections` holds back accepting, as in Kafka.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import Any, Protocol

import trio

log = logging.getLogger(__name__)


class Slots(Protocol):
    """How many connections may be."""

    async def acquire(self) -> None:
        """Waits until another connection may be."""
        ...

    def release(self) -> None:
        """A connection has ended."""
        ...


OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
GONE = frozenset(
    getattr(errno, name)
    for name in (
        *("EPERM", "ECONNABORTED", "ECONNRESET", "ETIMEDOUT", "EPROTO", "ENOPROTOOPT", "EOPNOTSUPP"),
        *("ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENONET"),
    )
    if hasattr(errno, name)
)
"""What accept(2) says of the new connection, not of the listening socket: Linux hands its pending error over."""
RETRY_SECONDS = 0.1
SYSTEMS_OWN = -1
"""A buffer's size that is left to the system, which lets it grow."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address of `host` (empty: all interfaces), all on one port. Raises OSError.

    Port 0 takes a free port, chosen with the first address and bound for the others too.
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            if sockets and port == 0:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            sockets.append(_bound(family, address, dual_stack=not host))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def size_buffers(sock: socket.socket, send: int, receive: int) -> None:
    """Bytes that a listening socket's connections buffer: they inherit it, so that TCP's first window is right."""
    for option, size in ((socket.SO_SNDBUF, send), (socket.SO_RCVBUF, receive)):
        if size != SYSTEMS_OWN:
            sock.setsockopt(socket.SOL_SOCKET, option, size)


def close(sock: socket.socket) -> None:
    """Closes a socket for the other side too: a process forked meanwhile, as multiprocessing does, has a copy of it."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # Not connected any more, or never listened on.
    sock.close()


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    if not host:
        if socket.has_dualstack_ipv6():
            return [(socket.AF_INET6, ("::", port, 0, 0))]
        return [(socket.AF_INET, ("0.0.0.0", port))]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(family: socket.AddressFamily, address: tuple[Any, ...], dual_stack: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual_stack))
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


async def accept(sock: socket.socket, slots: Slots, handle: Callable[[socket.socket], None]) -> None:
    """Accepts until the socket is closed, each connection on a free slot; the connection's end must release it."""
    while sock.fileno() != -1:
        try:
            await trio.lowlevel.wait_readable(sock)
        except trio.ClosedResourceError:
            return
        await slots.acquire()
        connection = None
        try:
            # Woken by a client and closed before its turn came: a server that stops closes while others run.
            if sock.fileno() == -1:
                return
            connection = await _accept_one(sock)
        finally:
            if connection is None:
                slots.release()
        if connection is not None:
            handle(connection)


async def _accept_one(sock: socket.socket) -> socket.socket | None:
    try:
        connection, _ = sock.accept()
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        if error.errno in GONE:
            return None
        if error.errno not in OUT_OF_DESCRIPTORS:
            raise
        log.warning("can't accept a connection: %s; trying again", error.strerror)
        await trio.sleep(RETRY_SECONDS)
        return None
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:  # It was reset meanwhile.
        connection.close()
        return None
    return connection
