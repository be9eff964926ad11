"""How many connections there may be, and how fast they may come: per broker, listener and address (KIP-402, KIP-612).

`max.connections` and `max.connection.creation.rate` hold back accepting; `max.connections.per.ip` closes what is over
it. An address that is over its own rate has its connection closed, so that others needn't wait for it.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from pykbroker.config.keys import split
from pykbroker.config.listener_config import ListenerConfig

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig

log = logging.getLogger(__name__)

UNLIMITED = (1 << 31) - 1
REMEMBERED_ADDRESSES = 10_000


class Rate:
    """At most so many a second; a second's worth may come at once."""

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._left = max(1.0, per_second)
        self._at = now

    def take(self, now: float) -> float:
        """Takes one, and answers how many seconds there are to wait for it."""
        self._left = min(max(1.0, self._per_second), self._left + (now - self._at) * self._per_second) - 1
        self._at = now
        return max(0.0, -self._left / self._per_second)

    def take_if_there(self, now: float) -> bool:
        """Takes one if nobody has to wait for it."""
        if self.take(now) == 0.0:
            return True
        self._left += 1
        return False


class ListenerSlots:
    """A listener's connections: its own limits, then the broker's."""

    def __init__(self, config: ListenerConfig, broker: trio.Semaphore, broker_rate: Rate | None) -> None:
        self._broker = broker
        self._own: trio.Semaphore | None = None
        if config.is_own("max.connections"):
            self._own = trio.Semaphore(config.value("max.connections"))
        own_rate = config.is_own("max.connection.creation.rate")
        rate = Rate(config.value("max.connection.creation.rate"), trio.current_time()) if own_rate else None
        self._rates = [one for one in (rate, broker_rate) if one is not None]

    async def acquire(self) -> None:
        """Waits until another connection may be."""
        for rate in self._rates:
            wait = rate.take(trio.current_time())
            if wait:
                await trio.sleep(wait)
        if self._own is not None:
            await self._own.acquire()
        await self._broker.acquire()

    def release(self) -> None:
        """A connection has ended."""
        self._broker.release()
        if self._own is not None:
            self._own.release()


class ConnectionLimits:
    """The limits of a broker's connections."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._broker = trio.Semaphore(config.max_connections)
        self._rate: Rate | None = None
        self._per_ip: Counter[str] = Counter()
        self._overrides = _limits_per_ip(config.max_connections_per_ip_overrides)
        self._ip_rates: dict[str, Rate] = {}
        self.ip_rate: Callable[[str], float | None] = lambda ip: None
        """The quota `connection_creation_rate` of an address, where there is one."""

    def slots(self, listener: str) -> ListenerSlots:
        """The slots of a listener; to be called in the loop."""
        if self._rate is None and self._config.max_connection_creation_rate < UNLIMITED:
            self._rate = Rate(self._config.max_connection_creation_rate, trio.current_time())
        return ListenerSlots(ListenerConfig(self._config, listener), self._broker, self._rate)

    def opened(self, ip: str) -> str | None:
        """Counts a connection; says which limit it is over, if it is."""
        self._per_ip[ip] += 1
        if self._per_ip[ip] > self._overrides.get(ip, self._config.max_connections_per_ip):
            return "max.connections.per.ip"
        quota = self.ip_rate(ip)
        if quota is not None:
            if len(self._ip_rates) >= REMEMBERED_ADDRESSES:
                self._ip_rates.clear()
            rate = self._ip_rates.setdefault(ip, Rate(quota, trio.current_time()))
            if not rate.take_if_there(trio.current_time()):
                return "its quota connection_creation_rate"
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
