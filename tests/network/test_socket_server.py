"""Which connections a broker has: limits, idleness, draining, listeners, and the address a client is told."""

from __future__ import annotations

import logging
import socket
import struct
from typing import Any

import pytest
import trio
import trio.testing

from pykbroker.config.broker import BrokerConfig
from pykbroker.network import socket_server
from pykbroker.network.listener import SYSTEMS_OWN
from pykbroker.network.socket_server import SEND_BUFFER_BYTES, SocketServer
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

HEARTBEAT = ApiKey.HEARTBEAT


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


async def test_max_connections_holds_back(serve: Any) -> None:
    async with serve(**{"max.connections": 2}) as serving:
        first, second, third = [await serving.connect() for _ in range(3)]
        await first.ask(ApiVersionsRequest())
        await second.ask(ApiVersionsRequest())
        await third.send(ApiVersionsRequest())
        await trio.testing.wait_all_tasks_blocked()
        assert len(serving.behind.contexts) == 2, "the third isn't served"
        await first.stream.aclose()
        await third.receive(ApiKey.API_VERSIONS)


@pytest.mark.parametrize(
    ("properties", "sizes"),
    [
        ({}, (SEND_BUFFER_BYTES, SYSTEMS_OWN)),
        ({"socket.send.buffer.bytes": 102400, "socket.receive.buffer.bytes": 102400}, (102400, 102400)),
        ({"socket.send.buffer.bytes": -1}, (SYSTEMS_OWN, SYSTEMS_OWN)),
    ],
)
async def test_buffers_are_as_configured(
    serve: Any, monkeypatch: pytest.MonkeyPatch, properties: dict[str, int], sizes: tuple[int, int]
) -> None:
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(socket_server, "size_buffers", lambda sock, *sizes: asked.append(sizes))
    async with serve(**properties):
        assert asked == [sizes]


async def test_max_connections_per_ip_closes_at_once(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(**{"max.connections.per.ip": 1}) as serving:
        first = await serving.connect()
        await first.ask(ApiVersionsRequest())
        second = await serving.connect()
        assert await second.closed()
        (line,) = caplog.messages
        assert line.endswith("closed: over max.connections.per.ip")
        await first.ask(ApiVersionsRequest())
        await first.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        third = await serving.connect()
        await third.ask(ApiVersionsRequest())


async def test_an_address_may_have_a_limit_of_its_own(serve: Any) -> None:
    limits = {"max.connections.per.ip": 0, "max.connections.per.ip.overrides": "127.0.0.1:1,[::1]:5"}
    async with serve(**limits) as serving:
        first, second = await serving.connect(), await serving.connect()
        await first.ask(ApiVersionsRequest())
        assert await second.closed()


def test_limits_that_cannot_be_read_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    bad = ["127.0.0.1", "127.0.0.1:many", ":5:"]
    SocketServer(BrokerConfig.from_properties({"max.connections.per.ip.overrides": ",".join(bad)}))
    assert [repr(one) in line for one, line in zip(bad, caplog.messages, strict=True)] == [True] * 3


async def test_an_idle_connection_ends(serve: Any, mock_clock: trio.testing.MockClock) -> None:
    async with serve(**{"connections.max.idle.ms": 60_000}) as serving:
        idle, busy, used = [await serving.connect() for _ in range(3)]
        await idle.ask(ApiVersionsRequest())
        await busy.send(HeartbeatRequest(group_id="g"))
        await serving.behind.serving.wait()
        for _ in range(3):
            mock_clock.jump(30)
            await used.ask(ApiVersionsRequest())
        assert await idle.closed()
        await used.ask(ApiVersionsRequest())
        serving.behind.go_on.set()
        await busy.receive(HEARTBEAT)


async def test_who_does_not_finish_a_frame_is_cut(serve: Any, mock_clock: trio.testing.MockClock) -> None:
    async with serve(**{"connections.max.idle.ms": 60_000}) as serving:
        silent, half, used = [await serving.connect() for _ in range(3)]
        await half.send_bytes(struct.pack(">i", 100) + b"half")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            mock_clock.jump(30)
            await used.ask(ApiVersionsRequest())
        assert await silent.closed()
        assert await half.closed()
        await used.ask(ApiVersionsRequest())


async def test_who_does_not_read_is_cut(serve: Any, mock_clock: trio.testing.MockClock) -> None:
    async with serve(**{"connections.max.idle.ms": 60_000}) as serving:
        serving.behind.api_keys = [ApiVersionsResponse.ApiKey()] * 20_000
        serving.behind.go_on.set()
        deaf, used = await serving.connect(), await serving.connect()

        async def ask_for_ever() -> None:
            while True:  # Until the buffers on the way are full, and then it waits to be cut.
                await deaf.send(ApiVersionsRequest())

        async def use() -> None:
            while True:
                mock_clock.jump(10)
                await used.ask(HeartbeatRequest(group_id="g"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            with pytest.raises(trio.BrokenResourceError):
                await ask_for_ever()
            nursery.cancel_scope.cancel()


async def test_idle_connections_may_stay_for_ever(serve: Any, mock_clock: trio.testing.MockClock) -> None:
    async with serve(**{"connections.max.idle.ms": -1}) as serving:
        client = await serving.connect()
        await client.ask(ApiVersionsRequest())
        mock_clock.jump(1_000_000)
        await trio.testing.wait_all_tasks_blocked()
        await client.ask(ApiVersionsRequest())


async def test_a_request_over_the_limit_ends_its_connection(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(**{"socket.request.max.bytes": 100}) as serving:
        client = await serving.connect()
        await client.ask(ApiVersionsRequest())
        await client.send_bytes(struct.pack(">i", 101))
        assert await client.closed()
        (line,) = caplog.messages
        assert "a frame of 101 bytes (socket.request.max.bytes is 100)" in line
        other = await serving.connect()
        await other.ask(ApiVersionsRequest())


async def test_draining_answers_what_is_in_hand(serve: Any) -> None:
    async with serve() as serving:
        idle, busy = await serving.connect(), await serving.connect()
        await idle.ask(ApiVersionsRequest())
        await busy.send(HeartbeatRequest(group_id="g"))
        await busy.send(ApiVersionsRequest())
        await serving.behind.serving.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving.server.drain, 60)
            assert await idle.closed()
            serving.behind.go_on.set()
            await busy.receive(HEARTBEAT)
            assert await busy.closed(), "what comes after is left to the next broker"


async def test_draining_ends_who_was_accepted_just_before(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve() as serving:
        busy = await serving.connect()
        await busy.send(HeartbeatRequest(group_id="g"))
        await serving.behind.serving.wait()
        begin, as_ever = trio.Event(), serving.server._serve

        async def later(*args: Any) -> None:
            await begin.wait()
            await as_ever(*args)

        monkeypatch.setattr(serving.server, "_serve", later)
        late = await serving.connect()
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving.server.drain, 60)
            await trio.testing.wait_all_tasks_blocked()
            begin.set()
            assert await late.closed()
            serving.behind.go_on.set()
            await busy.receive(HEARTBEAT)


async def test_draining_ends_in_time(serve: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with serve() as serving:
        busy = await serving.connect()
        await busy.send(HeartbeatRequest(group_id="g"))
        await serving.behind.serving.wait()
        started = trio.current_time()
        await serving.server.drain(5)
        assert trio.current_time() - started == 5
        assert await busy.closed()


async def test_draining_refuses_who_comes_new(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as serving:
        port = serving.server.port
        busy = await serving.connect()
        await busy.send(HeartbeatRequest(group_id="g"))
        await serving.behind.serving.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving.server.drain, 60)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            serving.behind.go_on.set()
            await busy.receive(HEARTBEAT)
    assert caplog.messages == []


async def test_several_listeners(serve: Any) -> None:
    listeners = "PLAINTEXT://127.0.0.1:0,INSIDE://127.0.0.1:0"
    protocols = "PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT"
    async with serve(**{"listeners": listeners, "listener.security.protocol.map": protocols}) as serving:
        ports = serving.server.ports()
        assert len(set(ports.values())) == 2
        assert serving.server.port == ports["PLAINTEXT"]
        for listener in ("INSIDE", "PLAINTEXT"):
            client = await serving.connect(listener=listener)
            await client.ask(ApiVersionsRequest())
            context = serving.behind.contexts.pop()
            assert (context.listener, context.local_address) == (listener, ("127.0.0.1", ports[listener]))
            assert context.client_host == "/127.0.0.1"


@needs_ipv6
async def test_ipv6(serve: Any) -> None:
    async with serve(listeners="PLAINTEXT://[::1]:0") as serving:
        client = await serving.connect("::1")
        await client.ask(ApiVersionsRequest())
        (context,) = serving.behind.contexts
        assert (context.client_host, context.local_address) == ("/::1", ("::1", serving.server.port))


@needs_ipv6
async def test_every_interface_of_both_families(serve: Any) -> None:
    async with serve(listeners="PLAINTEXT://:0") as serving:
        for host in ("127.0.0.1", "::1"):
            client = await serving.connect(host)
            await client.ask(ApiVersionsRequest())
            context = serving.behind.contexts.pop()
            assert (context.client_host, context.local_address) == (f"/{host}", (host, serving.server.port))


def test_a_long_poll_is_answered_when_the_broker_stops() -> None:
    with KafkaBroker() as broker, WireClient(broker.host, broker.port) as client:
        topic = CreateTopicsRequest.Topic(name="topic", num_partitions=1, replication_factor=1)
        client.request(CreateTopicsRequest(topics=[topic], timeout_ms=5000), 5)
        part = FetchRequest.Topic.Partition(partition=0, fetch_offset=0, partition_max_bytes=1000)
        fetch = FetchRequest(
            max_wait_ms=60_000, min_bytes=1, topics=[FetchRequest.Topic(topic="topic", partitions=[part])]
        )
        client.send(fetch, 11)
        broker.stop()
        answer = client.receive(ApiKey.FETCH, 11)[1]
        assert answer.responses[0].partitions[0].error_code == 0
        with pytest.raises(ConnectionError):
            client.receive_frame()


def told(host: str, port: int) -> set[tuple[str, int]]:
    """Every address that a client is told on a connection to this one."""
    with WireClient(host, port) as client:
        brokers = client.request(MetadataRequest(topics=[]), 9).brokers
        coordinator = client.request(FindCoordinatorRequest(key="group"), 2)
    assert coordinator.error_code == 0
    return {(coordinator.host, coordinator.port)} | {(broker.host, broker.port) for broker in brokers}


def test_a_client_is_told_the_address_at_which_it_came() -> None:
    with KafkaBroker(config={"listeners": "PLAINTEXT://:0", "offsets.topic.num.partitions": 1}) as broker:
        hosts = ["127.0.0.1", *(["::1"] if has_ipv6() else [])]
        for host in hosts:
            assert told(host, broker.port) == {(host, broker.port)}


def test_a_client_is_told_what_is_advertised() -> None:
    config = {"advertised.listeners": "PLAINTEXT://broker.example.org:4711", "offsets.topic.num.partitions": 1}
    with KafkaBroker(config=config) as broker:
        assert told("127.0.0.1", broker.port) == {("broker.example.org", 4711)}


def test_limits_are_logged_with_the_client(caplog: pytest.LogCaptureFixture) -> None:
    with KafkaBroker(config={"max.connections.per.ip": 0}) as broker, caplog.at_level(logging.WARNING):
        with WireClient(broker.host, broker.port) as client, pytest.raises(ConnectionError):
            client.receive_frame()
        assert caplog.messages[0].startswith("connection from 127.0.0.1:")
