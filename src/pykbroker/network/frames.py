"""Frames off a socket and pieces onto it: bytes only, no messages.

Decides how frames are buffered (see `FrameReader`) and how an answer's pieces leave (`send_pieces`). It works on
plain non-blocking sockets and tries the call before it waits: a request that is there already costs no trip through
the scheduler.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Sequence

import trio

from pykbroker.protocol.message import Piece
from pykbroker.storage.file_slice import FileSlice

SIZE_BYTES = 4
INITIAL_CAPACITY = 4096
"""An idle connection holds this much: ten thousand of them 40 MB."""
LARGE_FRAME = 16384
"""From here on a frame is read to its end and no further, so that nothing behind it has to be moved to the front."""
FIRST_ROOM = 1 << 14
"""A frame's room grows with the bytes that come in: its four bytes of size alone take no memory."""
SHRINK_AFTER = 64
"""So many small frames in a row, and a large buffer is given back."""
IDLE_CAPACITY = 1 << 22
"""Whoever has nothing to ask gives back more than this at once, however large its last frame was."""
SENDFILE_FROM = 32768
"""A shorter file slice is read and sent along with the bytes around it: one system call instead of three."""
MORE_FOLLOWS: int = getattr(socket, "MSG_MORE", 0)
"""Keeps bytes back until the file slice after them: a packet of their own would wake the client up for nothing."""


class BadFrame(Exception):
    """The peer doesn't speak Kafka's framing, or breaks off in the middle of a frame."""


class Stall:
    """Since when a connection waits for its peer in the middle of a frame or an answer; what never ends is cut."""

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since: float | None = None

    async def wait(self, wait: Callable[[socket.socket], Awaitable[None]], sock: socket.socket) -> None:
        """Waits until the peer takes or sends something."""
        self.since = trio.current_time()
        await wait(sock)
        self.since = None


class FrameReader:
    """Reads size-prefixed frames into one buffer that grows to the largest frame in use and shrinks again.

    A frame is handed out as a view of the buffer: valid until the next one is asked for. Whoever keeps bytes of it
    copies them.
    """

    def __init__(self, sock: socket.socket, max_size: int, stall: Stall) -> None:
        self._socket = sock
        self._stall = stall
        self.limit(max_size, "socket.request.max.bytes")
        self._buffer = bytearray(INITIAL_CAPACITY)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._small_frames = 0
        self.waiting = False
        """True while nothing of a next frame is there: the connection may be closed without harm."""
        self.waited = False
        """Whether the last frame had to be waited for: others had their turn meanwhile."""

    def limit(self, max_size: int, key: str) -> None:
        """Has a larger frame end the connection: less is taken until the client has proved who it is."""
        self._max_size, self._max_size_key = max_size, key

    async def next_frame(self) -> memoryview | None:
        """The next frame without its size; None where the peer closed between frames. Raises BadFrame, OSError."""
        self.waited = False
        while self._end - self._start < SIZE_BYTES:
            self._make_room(SIZE_BYTES)
            if not await self._receive(len(self._buffer)):
                if self._end == self._start:
                    return None
                raise BadFrame(f"closed after {self._end - self._start} of the 4 bytes of a frame's size")
        size = int.from_bytes(self._view[self._start : self._start + SIZE_BYTES], "big", signed=True)
        if size < 0 or size > self._max_size:
            raise BadFrame(f"a frame of {size} bytes ({self._max_size_key} is {self._max_size}): not Kafka's protocol?")
        self._start += SIZE_BYTES
        room = min(size, max(FIRST_ROOM, len(self._buffer)))
        self._make_room(room)
        while self._end - self._start < size:
            if self._end - self._start >= room:
                room = min(size, 2 * room)
                self._make_room(room)
            limit = self._start + room if size >= LARGE_FRAME else len(self._buffer)
            if not await self._receive(limit):
                raise BadFrame(f"closed after {self._end - self._start} of a frame's {size} bytes")
        frame = self._view[self._start : self._start + size]
        self._start += size
        return frame

    def _make_room(self, size: int) -> None:
        """Has the buffer hold `size` bytes from `_start` on."""
        pending = self._end - self._start
        if pending == 0:
            self._start = self._end = 0
        capacity = len(self._buffer)
        self._small_frames = self._small_frames + 1 if size < capacity // 4 else 0
        if self._start + size <= capacity and (self._small_frames < SHRINK_AFTER or capacity == INITIAL_CAPACITY):
            return
        wanted = max(INITIAL_CAPACITY, 1 << (max(size, pending) - 1).bit_length())
        if size <= capacity and wanted >= capacity:
            # Fits once what is pending moves to the front. bytes(): source and target overlap.
            self._buffer[:pending] = bytes(self._view[self._start : self._end])
        else:
            buffer = bytearray(wanted)
            buffer[:pending] = self._view[self._start : self._end]
            self._buffer, self._view = buffer, memoryview(buffer)
        self._start, self._end, self._small_frames = 0, pending, 0

    async def _receive(self, limit: int) -> int:
        while True:
            try:
                count = self._socket.recv_into(self._view[self._end : limit])
            except (BlockingIOError, InterruptedError):
                await self._wait(trio.lowlevel.wait_readable)
                continue
            self._end += count
            return count

    async def _wait(self, wait: Callable[[socket.socket], Awaitable[None]]) -> None:
        """Waits for the peer: between frames it may take its time, within one it mustn't."""
        self.waiting = self._end == self._start
        if self.waiting:
            if len(self._buffer) > IDLE_CAPACITY:
                self._buffer = bytearray(INITIAL_CAPACITY)
                self._view = memoryview(self._buffer)
                self._start = self._end = self._small_frames = 0
            await wait(self._socket)
        else:
            await self._stall.wait(wait, self._socket)
        self.waiting, self.waited = False, True


async def send_pieces(sock: socket.socket, pieces: Sequence[Piece], stall: Stall) -> None:
    """Sends an answer: neighbouring bytes in one system call, long file slices by sendfile. Raises OSError."""
    gathered: list[bytes | bytearray | memoryview] = []
    for piece in pieces:
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            if isinstance(piece, FileSlice) and len(piece) >= SENDFILE_FROM:
                if gathered:
                    await _send_bytes(sock, gathered, stall, MORE_FOLLOWS)
                    gathered = []
                await _send_file(sock, piece, stall)
                continue
            piece = piece.read()
        if len(piece):
            gathered.append(piece)
    if gathered:
        await _send_bytes(sock, gathered, stall)


async def _send_bytes(
    sock: socket.socket, pieces: list[bytes | bytearray | memoryview], stall: Stall, flags: int = 0
) -> None:
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    sent = 0
    view = memoryview(data)
    while sent < len(data):
        try:
            sent += sock.send(view[sent:], flags)
        except (BlockingIOError, InterruptedError):
            await stall.wait(trio.lowlevel.wait_writable, sock)


async def _send_file(sock: socket.socket, piece: FileSlice, stall: Stall) -> None:
    position, left = piece.position, len(piece)
    while left:
        try:
            count = os.sendfile(sock.fileno(), piece.fileno(), position, left)
        except (BlockingIOError, InterruptedError):
            await stall.wait(trio.lowlevel.wait_writable, sock)
            continue
        if count == 0:
            raise OSError(f"a log file ends {left} bytes before its index says")
        position += count
        left -= count
