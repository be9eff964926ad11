"""Which listeners may come, go and be advertised elsewhere while a broker runs (KIP-226), and what has changed.

The rules are those of Apache Kafka 3.9 with ZooKeeper; from 4.0 on `advertised.listeners` counts at the start alone. It
never opens a socket.
"""

from __future__ import annotations

from collections.abc import Iterable

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.listeners import Listener

ADDRESSES = frozenset(("listeners", "advertised.listeners", "listener.security.protocol.map"))
"""The keys that say where a broker is."""


def refusal(before: BrokerConfig, after: BrokerConfig, changeable: Iterable[str]) -> str | None:
    """Why listeners can't become what they are `after`, in Kafka's words; None where they can. Raises ConfigError.

    `changeable` are the keys that a listener which stays may have changed at the same time.
    """
    if all(before.value(name) == after.value(name) for name in ADDRESSES):
        return None
    listeners = {one.name: one for one in after.broker_listeners}
    advertised = {one.name for one in after.advertised} or listeners.keys()
    inter_broker = before.inter_broker_listener
    if inter_broker not in advertised:
        return (
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options "
            f"based on currently configured listeners are {','.join(sorted(advertised))}: {inter_broker} has to stay"
        )
    for one in before.broker_listeners:
        kept = listeners.get(one.name)
        if kept is None:
            continue
        if kept.security_protocol != one.security_protocol:
            return f"Security protocol cannot be updated for existing listener {one.name}"
        if _own(before, one.name, changeable) != _own(after, one.name, changeable):
            return (
                f"Configs cannot be updated dynamically for existing listener {one.name}, restart broker or create a "
                "new listener for update"
            )
    return None


def fresh(before: Iterable[Listener], after: Iterable[Listener]) -> list[Listener]:
    """Those that are to be opened: new ones, and those that are to be elsewhere."""
    known = set(before)
    return [one for one in after if one not in known]


def _own(config: BrokerConfig, listener: str, changeable: Iterable[str]) -> dict[str, str]:
    prefix = f"listener.name.{listener.lower()}."
    free = {prefix + name for name in changeable}
    return {name: text for name, text in config.unknown.items() if name.startswith(prefix) and name not in free}
