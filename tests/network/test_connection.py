"""A connection from request to answer: order, correlation ids, and what ends it."""

from __future__ import annotations

import logging
import struct
from typing import Any

import pytest
import trio.testing

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.connection import encode_request
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.message import as_bytes
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.list_groups import ListGroupsRequest

API_VERSIONS, HEARTBEAT = ApiKey.API_VERSIONS, ApiKey.HEARTBEAT


def size_first(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def header(key: int, version: int, rest: bytes = b"\0\0\0\1\xff\xff") -> bytes:
    return size_first(struct.pack(">hh", key, version) + rest)


def framed(request: Any, version: int = 0, correlation_id: int = 1) -> bytes:
    return b"".join(map(as_bytes, encode_request(request, version, correlation_id, "test")))


async def test_pipelined_requests_are_answered_in_order_with_their_ids(serve: Any) -> None:
    ids = [7, 7, -1, 0, 2**31 - 1, -(2**31), 3]
    async with serve() as serving:
        client = await serving.connect()
        slow = framed(HeartbeatRequest(group_id="g"), correlation_id=99)
        await client.send_bytes(slow + b"".join(framed(ApiVersionsRequest(), 0, each) for each in ids))
        await serving.behind.serving.wait()
        assert serving.behind.contexts == [], "the second waits for the first"
        serving.behind.go_on.set()
        assert (await client.receive(HEARTBEAT))[0] == 99
        assert [(await client.receive(API_VERSIONS))[0] for _ in ids] == ids


async def test_a_slow_client_holds_up_no_other(serve: Any) -> None:
    async with serve() as serving:
        waiting, other = await serving.connect(), await serving.connect()
        await waiting.send(HeartbeatRequest(group_id="g"))
        await serving.behind.serving.wait()
        await other.ask(ApiVersionsRequest())
        serving.behind.go_on.set()
        await waiting.receive(HEARTBEAT)


async def test_a_client_that_never_pauses_holds_up_no_other(serve: Any) -> None:
    async with serve() as serving:
        greedy, other = await serving.connect(), await serving.connect()
        await greedy.send_bytes(b"".join(framed(ApiVersionsRequest(), 0, each) for each in range(400)))
        await other.ask(ApiVersionsRequest())
        assert len(serving.behind.contexts) < 401
        for each in range(400):
            assert (await greedy.receive(API_VERSIONS))[0] == each


async def test_a_request_without_an_answer_delays_no_other(serve: Any) -> None:
    async with serve() as serving:
        client = await serving.connect()
        for correlation_id in (1, 2):
            await client.send(HeartbeatRequest(group_id="silent"), 0, correlation_id)
        await client.send(ApiVersionsRequest(), 0, 3)
        assert (await client.receive(API_VERSIONS))[0] == 3


BAD: dict[str, tuple[bytes, str]] = {
    "an unknown API key": (header(999, 0), "999"),
    "a negative API key": (header(-5, 0), "-5"),
    "an API that isn't served": (header(ApiKey.METADATA, 1), "METADATA version 1 is not supported"),
    "an unknown version": (header(HEARTBEAT, 99), "HEARTBEAT version 99 is not supported"),
    "a negative version": (header(HEARTBEAT, -1), "HEARTBEAT version -1 is not supported"),
    "half a header": (size_first(b"\0\x12\0"), "header"),
    "an empty frame": (size_first(b""), "header"),
    "a client id that isn't there": (header(HEARTBEAT, 0, b"\0\0\0\1\0\x50ab"), "client_id"),
    "half a body": (header(HEARTBEAT, 0, b"\0\0\0\1\xff\xff\0\x50g"), "group_id"),
    "a negative size": (b"\xff\xff\xff\xff", "a frame of -1 bytes"),
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", "not Kafka's protocol"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "not Kafka's protocol"),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_is_wrong_ends_that_connection_alone(
    serve: Any, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    data, reason = BAD[what]
    async with serve() as serving:
        other, bad = await serving.connect(), await serving.connect()
        await other.ask(ApiVersionsRequest())
        host, port = bad.stream.socket.getsockname()
        with caplog.at_level(logging.INFO):
            await bad.send_bytes(data)
            assert await bad.closed()
        (line,) = caplog.messages
        assert line.startswith(f"connection from {host}:{port} closed: ")
        assert reason in line
        assert "\n" not in line
        await other.ask(ApiVersionsRequest())


async def test_what_came_before_the_bad_frame_is_answered(serve: Any) -> None:
    async with serve() as serving:
        client = await serving.connect()
        await client.send_bytes(framed(ApiVersionsRequest(), 0, 5) + header(999, 0))
        assert (await client.receive(API_VERSIONS))[0] == 5
        assert await client.closed()


async def test_a_frame_that_breaks_off(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as serving:
        for data, reason in ((b"\0\0", "after 2 of the 4 bytes"), (b"\0\0\0\x50abc", "after 3 of a frame's 80 bytes")):
            client = await serving.connect()
            caplog.clear()
            await client.send_bytes(data)
            await client.stream.send_eof()
            assert await client.closed()
            (line,) = caplog.messages
            assert reason in line


async def test_a_client_that_goes_between_frames_is_no_news(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as serving:
        client = await serving.connect()
        await client.ask(ApiVersionsRequest())
        with caplog.at_level(logging.INFO):
            await client.stream.send_eof()
            assert await client.closed()
        assert caplog.messages == []


async def test_a_client_that_goes_while_it_is_served(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as serving:
        client, other = await serving.connect(), await serving.connect()
        await client.send(HeartbeatRequest(group_id="g"))
        await serving.behind.serving.wait()
        with caplog.at_level(logging.INFO):
            await client.stream.aclose()
            serving.behind.go_on.set()
            await other.ask(ApiVersionsRequest())
            await trio.testing.wait_all_tasks_blocked()
        assert caplog.messages == []


async def test_a_handler_that_fails_is_told_and_logged(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as serving:
        client = await serving.connect()
        answer = await client.ask(ListGroupsRequest(), 1)
        assert answer.error_code == ErrorCode.UNKNOWN_SERVER_ERROR
        await client.ask(ApiVersionsRequest())
    (record,) = caplog.records
    assert record.getMessage() == "ListGroupsRequest v1 of client 'test' failed"
    assert record.exc_info is not None


async def test_many_answers_to_a_client_that_reads_late(serve: Any) -> None:
    async with serve() as serving:
        client = await serving.connect()
        for each in range(2000):
            await client.send(ApiVersionsRequest(), 0, each)
        assert [(await client.receive(API_VERSIONS))[0] for _ in range(2000)] == list(range(2000))
