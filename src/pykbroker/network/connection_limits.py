"""How many connections there may be, and how fast they may come: per broker, listener and address (KIP-402, KIP-612).

`max.connections` and `max.connection.creation.rate` hold back accepting; `max.connections.per.ip` closes what is over
it. An address that is over its own rate has its connection held, then closed, so that others needn't wait for it.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from pykbroker.config.keys import split
from pykbroker.config.listener_config import ListenerConfig

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig

log = logging.getLogger(__name__)

UNLIMITED = (1 << 31) - 1


class Rate:
    """At most so many a second; a second's worth may come at once."""

    def __init__(self, per_second: Callable[[], float]) -> None:
        self._per_second = per_second
        self._left = self._at = 0.0
        self._began = False

    def take(self, now: float) -> float:
        """Takes one, and answers how many seconds there are to wait for it."""
        rate = self._per_second()
        if rate >= UNLIMITED:
            return 0.0
        most = max(1.0, rate)
        self._left = (min(most, self._left + (now - self._at) * rate) if self._began else most) - 1
        self._at, self._began = now, True
        return max(0.0, -self._left / rate)


class Slots:
    """At most so many connections at a time; the limit may change."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._used = 0
        self._freed = trio.Event()

    async def acquire(self) -> None:
        """Waits until another connection may be."""
        while self._used >= self._limit():
            await self._freed.wait()
        self._used += 1

    def release(self) -> None:
        """A connection has ended."""
        self._used -= 1
        self.look()

    def look(self) -> None:
        """Has those who wait look again."""
        self._freed.set()
        self._freed = trio.Event()


class ListenerSlots:
    """A listener's connections: its own limits, then the broker's."""

    def __init__(self, slots: Sequence[Slots], rates: Sequence[Rate]) -> None:
        self._slots = slots
        self._rates = rates

    async def acquire(self) -> None:
        """Waits until another connection may be, and may come."""
        for rate in self._rates:
            wait = rate.take(trio.current_time())
            if wait:
                await trio.sleep(wait)
        for slots in self._slots:
            await slots.acquire()

    def release(self) -> None:
        """A connection has ended."""
        for slots in self._slots:
            slots.release()


class ConnectionLimits:
    """The limits of a broker's connections; its config may change while it runs."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._broker = Slots(lambda: config.max_connections)
        self._listeners: dict[str, Slots] = {}
        self._rate = Rate(lambda: config.max_connection_creation_rate)
        self._per_ip: Counter[str] = Counter()
        self._overrides = _limits_per_ip(config.max_connections_per_ip_overrides)
        self.ip_delay: Callable[[str], float] = lambda ip: 0.0
        """Counts a connection against its address's quota `connection_creation_rate`; for how many seconds to hold it
        before it is closed, 0 to serve it."""
        config.subscribe(self._config_changed)

    def _config_changed(self, changed: frozenset[str]) -> None:
        if "max.connections.per.ip.overrides" in changed:
            self._overrides = _limits_per_ip(self._config.max_connections_per_ip_overrides)
        for slots in (self._broker, *self._listeners.values()):
            slots.look()

    def slots(self, listener: str) -> ListenerSlots:
        """The slots of a listener, the same for each of its addresses."""
        own = ListenerConfig(self._config, listener)

        def of_its_own(key: str) -> int:
            return int(own.value(key)) if own.is_own(key) else UNLIMITED

        slots = self._listeners.setdefault(listener, Slots(lambda: of_its_own("max.connections")))
        rate = Rate(lambda: of_its_own("max.connection.creation.rate"))
        return ListenerSlots([slots, self._broker], [rate, self._rate])

    def opened(self, ip: str) -> str | None:
        """Counts a connection; says which limit it is over, if it is."""
        self._per_ip[ip] += 1
        if self._per_ip[ip] > self._overrides.get(ip, self._config.max_connections_per_ip):
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
