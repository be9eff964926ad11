"""How many connections there may be, and how fast they may come: per broker and per listener (KIP-402, KIP-612)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
import trio.testing

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.live import LiveConfig
from pykbroker.network.connection_limits import UNLIMITED, ConnectionLimits, CreationRate

LISTENERS = {
    "listeners": "PLAINTEXT://:1,OTHER://:2",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OTHER:SSL",
}


def limits_of(properties: Mapping[str, str]) -> ConnectionLimits:
    """With both listeners there; PLAINTEXT is the brokers'."""
    limits = ConnectionLimits(LiveConfig(BrokerConfig.from_properties({**LISTENERS, **properties})))
    for name in ("PLAINTEXT", "OTHER"):
        limits.slots(name)
    return limits


def test_a_rate_is_measured_over_all_windows() -> None:
    rate = CreationRate(BrokerConfig(), lambda: 2)
    assert {rate.take(0) for _ in range(20)} == {0}, "ten full windows of a second, two a second"
    assert [rate.take(0) for _ in range(3)] == [500, 1000, 1000], "at most a window"
    assert rate.take(60_000) == 0


def test_what_is_given_back_does_not_count() -> None:
    rate = CreationRate(BrokerConfig(), lambda: 2)
    for _ in range(100):
        rate.take(0)
        rate.give_back(0)
    assert rate.take(0) == 0


def test_no_limit_has_no_wait() -> None:
    rate = CreationRate(BrokerConfig(), lambda: UNLIMITED)
    assert {rate.take(0) for _ in range(1000)} == {0}


@pytest.mark.parametrize(
    ("properties", "listener", "seconds"),
    [
        ({}, "OTHER", 0.0),
        ({"max.connection.creation.rate": "2"}, "OTHER", 1.0),
        ({"max.connection.creation.rate": "2"}, "PLAINTEXT", 0.0),
        ({"listener.name.other.max.connection.creation.rate": "2"}, "OTHER", 1.0),
        ({"listener.name.plaintext.max.connection.creation.rate": "2"}, "PLAINTEXT", 1.0),
        ({"listener.name.plaintext.max.connection.creation.rate": "2"}, "OTHER", 0.0),
    ],
)
async def test_who_comes_too_fast_waits(
    properties: dict[str, str], listener: str, seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    slots = limits_of(properties).slots(listener)
    began = trio.current_time()
    for _ in range(22):
        await slots.acquire()
    assert trio.current_time() - began == pytest.approx(seconds, abs=0.01)


async def has_room(limits: ConnectionLimits, listener: str) -> bool:
    """Takes a slot where there is one."""
    with trio.move_on_after(1) as waiting:
        await limits.slots(listener).acquire()
    return not waiting.cancelled_caught


async def test_only_the_inter_broker_listener_goes_over_the_broker_s_limit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = limits_of({"max.connections": "2", "listener.name.plaintext.max.connections": "2"})
    assert [await has_room(limits, "OTHER") for _ in range(3)] == [True, True, False]
    assert limits.excess() == 0
    assert [await has_room(limits, "PLAINTEXT") for _ in range(3)] == [True, True, False]
    assert limits.excess() == 2
    limits.slots("PLAINTEXT").release()
    limits.slots("OTHER").release()
    assert limits.excess() == 0
    assert not await has_room(limits, "OTHER")
    limits.slots("OTHER").release()
    assert await has_room(limits, "OTHER")


async def test_the_inter_broker_listener_alone_has_no_privilege(autojump_clock: trio.testing.MockClock) -> None:
    limits = limits_of({"max.connections": "1"})
    limits.remove("OTHER")
    assert [await has_room(limits, "PLAINTEXT") for _ in range(2)] == [True, False]


async def test_a_limit_that_rises_lets_in_who_waits(autojump_clock: trio.testing.MockClock) -> None:
    limits = limits_of({"max.connections": "1"})
    assert isinstance(limits.config, LiveConfig)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(limits.slots("OTHER").acquire)
        await trio.testing.wait_all_tasks_blocked()
        assert limits.used == 1
        limits.config.update(own={"listener.name.other.max.connections": "2", "max.connections": "5"})
        await trio.testing.wait_all_tasks_blocked()
        assert limits.used == 2, "the listener has its own limit"
        limits.config.update(own={"listener.name.other.max.connections": "3", "max.connections": "5"})
    assert limits.used == 3
