"""How many connections there may be, and how fast they may come: per broker, listener and address (KIP-402, KIP-612).

`max.connections` and `max.connection.creation.rate` hold back accepting; `max.connections.per.ip` closes what is over
it. An address that is over its own rate has its connection held, then closed, so that others needn't wait for it. The
inter-broker listener, beside others, has its own limits alone: others make room for what comes there.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from pykbroker.cluster.client_quota import Rate
from pykbroker.config.keys import split
from pykbroker.config.listener_config import ListenerConfig

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig

log = logging.getLogger(__name__)

UNLIMITED = (1 << 31) - 1


class CreationRate:
    """Connections a second, measured over Kafka's windows, against a limit that may change."""

    def __init__(self, config: BrokerConfig, limit: Callable[[], int]) -> None:
        self._window_ms = config.quota_window_size_seconds * 1000
        self._rate = Rate(config.quota_window_num, self._window_ms)
        self._limit = limit

    def take(self, now_ms: float) -> float:
        """Counts a connection; how many ms it has to wait, at most one window."""
        self._rate.record(1, now_ms)
        limit = self._limit()
        return 0 if limit >= UNLIMITED else min(self._rate.throttle_ms(limit, now_ms), self._window_ms)

    def give_back(self, now_ms: float) -> None:
        """A connection that was counted isn't served after all."""
        self._rate.record(-1, now_ms)


class ListenerSlots:
    """A listener's connections: its own limits, and the broker's."""

    def __init__(self, limits: ConnectionLimits, listener: str) -> None:
        self._limits = limits
        self._config = limits.config
        self._own = ListenerConfig(limits.config, listener)
        self._rate = CreationRate(limits.config, lambda: self._limit("max.connection.creation.rate"))
        self._listener = listener
        self._used = 0

    async def acquire(self) -> None:
        """Waits until another connection may come, and be."""
        now_ms = trio.current_time() * 1000
        wait_ms = max(rate.take(now_ms) for rate in self._rates())
        if wait_ms:
            await trio.sleep(wait_ms / 1000)
        while not self._is_room():
            await self._limits.freed.wait()
        self._used += 1
        self._limits.used += 1

    def release(self) -> None:
        """A connection has ended."""
        self._used -= 1
        self._limits.used -= 1
        self._limits.look()

    def give_back(self) -> None:
        """A connection isn't served after all: it is no part of the rates either."""
        self.release()
        now_ms = trio.current_time() * 1000
        for rate in self._rates():
            rate.give_back(now_ms)

    def _is_room(self) -> bool:
        limits = self._limits
        if self._used >= self._limit("max.connections"):
            return False
        return limits.is_protected(self._listener) or limits.used < self._config.max_connections

    def _rates(self) -> list[CreationRate]:
        limits = self._limits
        return [self._rate] if limits.is_protected(self._listener) else [self._rate, limits.rate]

    def _limit(self, key: str) -> int:
        return int(self._own.value(key)) if self._own.is_own(key) else UNLIMITED


class ConnectionLimits:
    """The limits of a broker's connections; its config may change while it runs."""

    def __init__(self, config: BrokerConfig) -> None:
        self.config = config
        self.used = 0
        """How many connections there are."""
        self.rate = CreationRate(config, lambda: config.max_connection_creation_rate)
        self.freed = trio.Event()
        self._inter_broker = config.inter_broker_listener
        self._listeners: dict[str, ListenerSlots] = {}
        self._per_ip: Counter[str] = Counter()
        self._overrides = _limits_per_ip(config.max_connections_per_ip_overrides)
        self.ip_delay: Callable[[str], float] = lambda ip: 0.0
        """Counts a connection against its address's quota `connection_creation_rate`; for how many seconds to hold it
        before it is closed, 0 to serve it."""
        config.subscribe(self._config_changed)

    def _config_changed(self, changed: frozenset[str]) -> None:
        if "max.connections.per.ip.overrides" in changed:
            self._overrides = _limits_per_ip(self.config.max_connections_per_ip_overrides)
        self.look()

    def look(self) -> None:
        """Has those who wait for room look again."""
        self.freed.set()
        self.freed = trio.Event()

    def slots(self, listener: str) -> ListenerSlots:
        """The slots of a listener, the same for each of its addresses."""
        if listener not in self._listeners:
            self._listeners[listener] = ListenerSlots(self, listener)
        return self._listeners[listener]

    def remove(self, listener: str) -> None:
        """A listener is gone; its connections count until they end."""
        self._listeners.pop(listener, None)

    def is_protected(self, listener: str) -> bool:
        """Whether `max.connections` doesn't count for a listener: brokers go on when clients are too many."""
        return listener == self._inter_broker and len(self._listeners) > 1

    def excess(self) -> int:
        """How many connections there are too many: room taken by brokers, or a limit that is lower now."""
        return max(0, self.used - self.config.max_connections)

    def opened(self, ip: str) -> str | None:
        """Counts a connection; says which limit it is over, if it is."""
        self._per_ip[ip] += 1
        if self._per_ip[ip] > self._overrides.get(ip, self.config.max_connections_per_ip):
            return "max.connections.per.ip"
        return None

    def closed(self, ip: str) -> None:
        """A connection has ended."""
        self._per_ip[ip] -= 1
        if not self._per_ip[ip]:
            del self._per_ip[ip]


def _limits_per_ip(overrides: str) -> dict[str, int]:
    """`max.connections.per.ip.overrides` (`HOST:COUNT,…`) by address; what can't be read is logged and left out."""
    limits: dict[str, int] = {}
    for override in split(overrides):
        host, _, count = override.rpartition(":")
        try:
            addresses = {str(found[4][0]) for found in socket.getaddrinfo(host.strip("[]"), None)}
            limits |= dict.fromkeys(addresses, int(count))
        except (ValueError, OSError) as error:
            log.warning("max.connections.per.ip.overrides: %r is left out, expected HOST:COUNT: %s", override, error)
    return limits
