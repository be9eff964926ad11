"""The share-partitions of a broker: what their leader does besides answering."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio

from pykbroker.cluster.share_session import SessionKey
from pykbroker.server.clock import SystemClock
from pykbroker.server.share_partitions import SharePartitions


async def test_a_session_may_end_at_any_moment_while_the_broker_stops() -> None:
    anything: Any = SimpleNamespace(config=SimpleNamespace(group_share_max_share_sessions=9))
    parts = SharePartitions(
        persister=anything,
        metadata=anything,
        replica_manager=anything,
        purgatory=anything,
        disk=anything,
        clock=SystemClock(),
    )
    key = SessionKey("g", "m")

    async def end_sessions() -> None:
        with trio.CancelScope(shield=True):
            for _ in range(20):
                parts.sessions.context(key, 0, [], [], answers=False, connection_id=1)
                parts.close_session(key)
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        await nursery.start(parts.run)
        nursery.start_soon(end_sessions)
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert parts.sessions.get(key) is None
