"""How fast connections may come: per broker, and per listener with a limit of its own (KIP-612)."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from pykbroker.config.broker import BrokerConfig
from pykbroker.network.connection_limits import UNLIMITED, ConnectionLimits, Rate


def test_a_second_s_worth_may_come_at_once() -> None:
    rate = Rate(lambda: 2.0)
    assert [rate.take(10.0) for _ in range(4)] == [0.0, 0.0, 0.5, 1.0]
    assert rate.take(20.0) == 0.0


def test_no_limit_has_no_wait() -> None:
    rate = Rate(lambda: float(UNLIMITED))
    assert {rate.take(0.0) for _ in range(1000)} == {0.0}


@pytest.mark.parametrize(
    ("properties", "seconds"),
    [
        ({}, 0.0),
        ({"max.connection.creation.rate": "2"}, 2.0),
        ({"listener.name.plaintext.max.connection.creation.rate": "4"}, 0.5),
        ({"listener.name.other.max.connection.creation.rate": "1"}, 0.0),
    ],
)
async def test_who_comes_too_fast_waits(
    properties: dict[str, str], seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    limits = ConnectionLimits(BrokerConfig.from_properties(properties))
    slots = limits.slots("PLAINTEXT")
    began = trio.current_time()
    for _ in range(6):
        await slots.acquire()
    assert trio.current_time() - began == pytest.approx(seconds)
