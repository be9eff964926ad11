"""Listeners that come and go while the server serves (KIP-226), and connections that make room for others (KIP-402)."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
import trio.testing

from pykbroker.config.keys import ConfigError
from pykbroker.config.listeners import Listener, parse_listeners
from pykbroker.network.listener_security import ListenerSecurity
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest

FIRST, SECOND = "PLAINTEXT://127.0.0.1:0", "SECOND://127.0.0.1:0"
PROTOCOLS = {"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SECOND:PLAINTEXT"}
BOTH = {"listeners": f"{FIRST},{SECOND}", **PROTOCOLS}


async def test_a_listener_comes_and_goes(serve: Any) -> None:
    async with serve(**PROTOCOLS) as serving:
        old, port = await serving.connect(), serving.server.port
        serving.config.update(own={"listeners": f"{SECOND},{FIRST}"})
        ports = serving.server.ports()
        assert ports["PLAINTEXT"] == port, "who stays isn't touched"
        as_bound = ",".join(f"{name}://127.0.0.1:{number}" for name, number in ports.items())
        serving.server.check(parse_listeners(as_bound.split(","), {"PLAINTEXT": "PLAINTEXT", "SECOND": "PLAINTEXT"}))
        serving.config.update(own={"listeners": as_bound})
        assert serving.server.ports() == ports, "nor who is asked for by the port that was free"
        new = await serving.connect(listener="SECOND")
        await new.ask(ApiVersionsRequest())
        assert serving.behind.contexts.pop().listener == "SECOND"
        serving.config.update(own={})
        assert await new.closed()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", ports["SECOND"]))
        await old.ask(ApiVersionsRequest())


async def test_a_listener_with_two_addresses_comes_and_goes(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: addresses if host == "two" else real(host, *rest, **more)
    )
    async with serve(**PROTOCOLS) as serving:
        serving.config.update(own={"listeners": f"{FIRST},SECOND://two:0"})
        port = serving.server.ports()["SECOND"]
        clients = [await serving.connect(host, listener="SECOND") for host in ("127.0.0.1", "127.0.0.2")]
        for client in clients:
            await client.ask(ApiVersionsRequest())
        serving.config.update(own={})
        for client in clients:
            assert await client.closed()
        for host in ("127.0.0.1", "127.0.0.2"):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, port))


async def test_a_listener_moves(serve: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = taken.getsockname()[1]
    async with serve() as serving:
        old, port = await serving.connect(), serving.server.port
        await old.ask(ApiVersionsRequest())
        serving.config.update(own={"listeners": f"PLAINTEXT://127.0.0.1:{free}"})
        assert await old.closed()
        assert serving.server.ports() == {"PLAINTEXT": free}
        assert free != port
        await (await serving.connect()).ask(ApiVersionsRequest())


async def test_who_asked_before_the_listener_went_is_answered(serve: Any) -> None:
    async with serve(**BOTH) as serving:
        idle, busy = [await serving.connect(listener="SECOND") for _ in range(2)]
        await idle.ask(ApiVersionsRequest())
        await busy.send(HeartbeatRequest(group_id="g"))
        await serving.behind.serving.wait()
        serving.config.update(own={"listeners": FIRST})
        assert await idle.closed()
        serving.behind.go_on.set()
        await busy.receive(ApiKey.HEARTBEAT)
        assert await busy.closed()


async def test_but_not_waited_for_long(serve: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with serve(**BOTH) as serving:
        busy = await serving.connect(listener="SECOND")
        await busy.send(HeartbeatRequest(group_id="g"))
        await serving.behind.serving.wait()
        serving.config.update(own={"listeners": FIRST})
        assert await busy.closed()


async def test_a_port_in_use_is_told_before_and_survived(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(**PROTOCOLS) as serving:
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = f"SECOND://127.0.0.1:{other.getsockname()[1]}"
            listeners = [*serving.config.broker_listeners, Listener("SECOND", "127.0.0.1", other.getsockname()[1], "X")]
            with pytest.raises(OSError, match="in use"):
                serving.server.check(listeners)
            serving.config.update(own={"listeners": f"{FIRST},{taken}"})
        assert "can't be followed" in caplog.text
        await (await serving.connect()).ask(ApiVersionsRequest())
        serving.config.update(own={"listeners": f"{FIRST},{SECOND}"})
        await (await serving.connect(listener="SECOND")).ask(ApiVersionsRequest())


async def test_a_listener_without_its_certificates_is_not_opened(
    serve: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(**PROTOCOLS) as serving:

        def security(listener: Listener) -> ListenerSecurity:
            raise ConfigError("ssl.keystore.location", None, "a TLS listener needs a certificate")

        monkeypatch.setattr(serving.server._serving, "security", security)
        serving.config.update(own={"listeners": f"{FIRST},{SECOND}"})
        assert "needs a certificate" in caplog.text
        assert serving.server.ports().keys() == {"PLAINTEXT"}


async def test_the_quietest_make_room_for_brokers(serve: Any, mock_clock: trio.testing.MockClock) -> None:
    async with serve(**BOTH, **{"max.connections": 3}) as serving:
        clients = [await serving.connect(listener="SECOND") for _ in range(3)]
        for client in (*clients, clients[0]):
            mock_clock.jump(1)
            await client.ask(ApiVersionsRequest())
        broker = await serving.connect(listener="PLAINTEXT")
        await broker.ask(ApiVersionsRequest())
        assert await clients[1].closed(), "used least lately"
        brokers = [await serving.connect(listener="PLAINTEXT") for _ in range(4)]
        for one in brokers:
            await one.ask(ApiVersionsRequest())
        assert await clients[0].closed()
        assert await clients[2].closed()
        await broker.ask(ApiVersionsRequest())
        kept_out = await serving.connect(listener="SECOND")
        await kept_out.send(ApiVersionsRequest())
        await trio.testing.wait_all_tasks_blocked()
        for one in (broker, *brokers[:2]):
            await one.stream.aclose()
        await kept_out.receive(ApiKey.API_VERSIONS)


async def test_a_lower_limit_ends_the_quietest(serve: Any, mock_clock: trio.testing.MockClock) -> None:
    async with serve() as serving:
        clients = [await serving.connect() for _ in range(4)]
        for client in (*clients, clients[0]):
            mock_clock.jump(1)
            await client.ask(ApiVersionsRequest())
        serving.config.update(own={"max.connections": "2"})
        assert await clients[1].closed()
        assert await clients[2].closed()
        for client in (clients[0], clients[3]):
            await client.ask(ApiVersionsRequest())


async def test_who_is_held_takes_no_room(serve: Any, mock_clock: trio.testing.MockClock) -> None:
    async with serve(**{"max.connections": 1}) as serving:
        delays = [60.0, 0.0]
        serving.server.limits.ip_delay = lambda ip: delays.pop(0)
        held = await serving.connect()
        await trio.testing.wait_all_tasks_blocked()
        served = await serving.connect()
        await served.ask(ApiVersionsRequest())
        mock_clock.jump(60)
        assert await held.closed()
