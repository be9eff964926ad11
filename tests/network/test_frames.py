"""Frames in whatever pieces they arrive; answers in whatever pieces they leave."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from pykbroker.network.frames import (
    IDLE_CAPACITY,
    INITIAL_CAPACITY,
    SHRINK_AFTER,
    BadFrame,
    FrameReader,
    Stall,
    send_pieces,
)
from pykbroker.storage.file_slice import FileSlice
from pykbroker.storage.files import LogFile

LIMIT = 10_000_000


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def framed(*bodies: bytes) -> bytes:
    return b"".join(len(body).to_bytes(4, "big") + body for body in bodies)


async def send(sock: socket.socket, data: bytes) -> None:
    with trio.socket.from_stdlib_socket(sock.dup()) as stream:
        view = memoryview(data)
        while view:
            view = view[await stream.send(view) :]


async def read_all(reader: FrameReader, count: int) -> list[bytes]:
    frames = []
    for _ in range(count):
        frame = await reader.next_frame()
        assert frame is not None
        frames.append(bytes(frame))
    return frames


@pytest.mark.parametrize("piece", [1, 3, 7, 1000, 1_000_000])
async def test_frames_arrive_in_pieces_of_any_size(pair: tuple[socket.socket, socket.socket], piece: int) -> None:
    ours, theirs = pair
    bodies = [b"", b"a", bytes(range(256)) * 3, b"z" * (INITIAL_CAPACITY - 4), b"y" * INITIAL_CAPACITY, b"end"]
    reader, data = FrameReader(ours, LIMIT, Stall()), framed(*bodies)

    async def feed() -> None:
        for start in range(0, len(data), piece):
            await send(theirs, data[start : start + piece])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        assert await read_all(reader, len(bodies)) == bodies


async def test_large_and_small_frames_mixed(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    bodies = [os.urandom(size) for size in (10, 300_000, 5, 5, 20_000, 1_500_000, 1, 40_000, 3)]
    reader = FrameReader(ours, LIMIT, Stall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, theirs, framed(*bodies))
        assert await read_all(reader, len(bodies)) == bodies


async def test_a_large_buffer_is_given_back(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reader = FrameReader(ours, LIMIT, Stall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, theirs, framed(b"x" * 1_000_000, *[b"y" * 10] * (2 * SHRINK_AFTER)))
        await read_all(reader, 1)
        assert len(reader._buffer) >= 1_000_000
        await read_all(reader, 2 * SHRINK_AFTER)
        assert len(reader._buffer) == INITIAL_CAPACITY


async def test_a_very_large_buffer_is_given_back_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reader = FrameReader(ours, LIMIT, Stall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, theirs, framed(bytes(IDLE_CAPACITY + 1)))
        assert await read_all(reader, 1) == [bytes(IDLE_CAPACITY + 1)]
        nursery.start_soon(read_all, reader, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert len(reader._buffer) == INITIAL_CAPACITY
        await send(theirs, framed(b"a", bytes(20_000)))


async def test_a_close_between_frames_is_no_error(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reader = FrameReader(ours, LIMIT, Stall())
    await send(theirs, framed(b"one"))
    theirs.close()
    assert await read_all(reader, 1) == [b"one"]
    assert await reader.next_frame() is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0", "2 of the 4 bytes"),
        (framed(b"four")[:-1], "3 of a frame's 4 bytes"),
        (b"\xff\xff\xff\xff", "a frame of -1 bytes"),
        (b"GET / HTTP/1.1\r\n", "not Kafka's protocol"),
    ],
)
async def test_what_is_no_frame_is_said(pair: tuple[socket.socket, socket.socket], data: bytes, message: str) -> None:
    ours, theirs = pair
    reader = FrameReader(ours, LIMIT, Stall())
    await send(theirs, data)
    theirs.close()
    with pytest.raises(BadFrame, match=message):
        await reader.next_frame()


async def test_a_size_over_the_limit_allocates_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reader = FrameReader(ours, 100, Stall())
    await send(theirs, (101).to_bytes(4, "big"))
    with pytest.raises(BadFrame, match="101 bytes"):
        await reader.next_frame()
    assert len(reader._buffer) == INITIAL_CAPACITY


async def test_waiting_is_true_between_frames_only(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reader = FrameReader(ours, LIMIT, Stall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all, reader, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.waiting
        await send(theirs, b"\0\0\0\x05ab")
        await trio.testing.wait_all_tasks_blocked()
        assert not reader.waiting
        await send(theirs, b"cde")
    assert not reader.waiting


async def test_pieces_leave_in_order_from_memory_and_files(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    ours, theirs = pair
    path = tmp_path / "log"
    content = os.urandom(900_000)
    path.write_bytes(content)
    log_file = LogFile(str(path))
    pieces = [
        b"head",
        FileSlice(log_file, 10, 20),
        memoryview(b"middle"),
        FileSlice(log_file, 1000, 800_000),
        b"",
        FileSlice(log_file, 5, 0),
        b"tail",
    ]
    expected = b"head" + content[10:30] + b"middle" + content[1000:801_000] + b"tail"
    received = bytearray()

    async def receive() -> None:
        with trio.socket.from_stdlib_socket(theirs.dup()) as stream:
            while len(received) < len(expected):
                received.extend(await stream.recv(65536))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await send_pieces(ours, pieces, Stall())
    assert received == expected
