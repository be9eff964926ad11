"""Binding, and accepting when descriptors run out."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from pykbroker.network.listener import RETRY_SECONDS, SYSTEMS_OWN, accept, bind, size_buffers


class Refusing:
    """A listening socket whose first accepts fail."""

    def __init__(self, sock: socket.socket, *errors: int) -> None:
        self._socket = sock
        self._errors: Iterator[int] = iter(errors)

    def accept(self) -> tuple[socket.socket, object]:
        for number in self._errors:
            raise OSError(number, "refused")
        return self._socket.accept()

    def fileno(self) -> int:
        return self._socket.fileno()


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    (sock,) = bind("127.0.0.1", 0)
    sock.listen()
    yield sock
    sock.close()


async def accepted(sock: socket.socket | Refusing, count: int, slots: trio.Semaphore) -> int:
    """How many of `count` clients are accepted until nothing moves any more."""
    connections: list[socket.socket] = []
    address = ("127.0.0.1", sock._socket.getsockname()[1] if isinstance(sock, Refusing) else sock.getsockname()[1])
    clients = [socket.create_connection(address) for _ in range(count)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, sock, slots, connections.append)
        await trio.sleep(RETRY_SECONDS * 3)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    for one in (*connections, *clients):
        one.close()
    return len(connections)


def test_a_port_is_bound_for_every_address_of_a_name() -> None:
    sockets = bind("localhost", 0)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert all(not sock.getblocking() for sock in sockets)
    finally:
        for sock in sockets:
            sock.close()


def test_a_port_in_use() -> None:
    (sock,) = bind("127.0.0.1", 0)
    with sock:
        sock.listen()
        with pytest.raises(OSError, match="in use") as caught:
            bind("127.0.0.1", sock.getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE


def test_nobody_reaches_a_port_that_is_only_bound() -> None:
    (sock,) = bind("127.0.0.1", 0)
    with sock, pytest.raises(ConnectionRefusedError):
        socket.create_connection(sock.getsockname())


def test_connections_inherit_the_listeners_buffers() -> None:
    (sock,) = bind("127.0.0.1", 0)
    with sock:
        size_buffers(sock, 50_000, 60_000)
        sock.listen()
        with socket.create_connection(sock.getsockname()), sock_accepted(sock) as connection:
            sizes = [connection.getsockopt(socket.SOL_SOCKET, of) for of in (socket.SO_SNDBUF, socket.SO_RCVBUF)]
            assert sizes == [own_size(socket.SO_SNDBUF, 50_000), own_size(socket.SO_RCVBUF, 60_000)]


def test_what_is_the_systems_own_is_left_to_it() -> None:
    (sock,) = bind("127.0.0.1", 0)
    with sock, socket.socket() as other:
        size_buffers(sock, SYSTEMS_OWN, SYSTEMS_OWN)
        for of in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            assert sock.getsockopt(socket.SOL_SOCKET, of) == other.getsockopt(socket.SOL_SOCKET, of)


def sock_accepted(sock: socket.socket) -> socket.socket:
    sock.setblocking(True)
    return sock.accept()[0]


def own_size(of: int, size: int) -> int:
    """What the system makes of a size: Linux doubles it."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, of, size)
        return sock.getsockopt(socket.SOL_SOCKET, of)


async def test_only_so_many_are_accepted(bound: socket.socket, autojump_clock: trio.testing.MockClock) -> None:
    assert await accepted(bound, 3, trio.Semaphore(2)) == 2


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.EINTR, errno.EPROTO, errno.ENETDOWN]
)
async def test_what_passes_is_tried_again(
    bound: socket.socket, autojump_clock: trio.testing.MockClock, number: int
) -> None:
    slots = trio.Semaphore(1)
    assert await accepted(Refusing(bound, number), 1, slots) == 1


async def test_other_errors_end_it(bound: socket.socket) -> None:
    with socket.create_connection(bound.getsockname()), pytest.raises(OSError, match="refused"):
        await accept(Refusing(bound, errno.EINVAL), trio.Semaphore(1), lambda connection: None)  # type: ignore[arg-type]


class ClosingSlots:
    """Closes the socket in the turn in which somebody may accept: as a server does that stops meanwhile."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.held = 0

    async def acquire(self) -> None:
        self.held += 1
        self._socket.close()

    def release(self) -> None:
        self.held -= 1


async def test_a_socket_that_is_closed_before_its_turn_comes(bound: socket.socket) -> None:
    slots = ClosingSlots(bound)
    with socket.create_connection(bound.getsockname()):
        await accept(bound, slots, lambda connection: None)
    assert slots.held == 0


async def test_a_socket_that_is_closed_while_it_is_waited_for(bound: socket.socket) -> None:
    slots = ClosingSlots(bound)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, bound, slots, lambda connection: None)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.notify_closing(bound)
        bound.close()
    assert slots.held == 0
