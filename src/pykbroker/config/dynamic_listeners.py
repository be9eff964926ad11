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
    contradiction = contradictory(after)
    if contradiction is not None:
        return contradiction
    listeners = {one.name: one for one in after.broker_listeners}
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


def contradictory(config: BrokerConfig) -> str | None:
    """Why a broker can't be where its config says, if so: others have to reach it. Raises ConfigError."""
    advertised = [one.name for one in config.advertised or config.broker_listeners]
    if config.inter_broker_listener in advertised:
        return None
    return (
        "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based "
        f"on currently configured listeners are {','.join(advertised)}: {config.inter_broker_listener} has to stay"
    )


def touched(before: BrokerConfig, after: BrokerConfig) -> list[Listener]:
    """The listeners that are to be opened, or to have other keys of their own."""
    known = set(before.broker_listeners)
    return [
        one
        for one in after.broker_listeners
        if one not in known or _own(before, one.name, ()) != _own(after, one.name, ())
    ]


def _own(config: BrokerConfig, listener: str, changeable: Iterable[str]) -> dict[str, str]:
    prefix = f"listener.name.{listener.lower()}."
    free = {prefix + name for name in changeable}
    return {name: text for name, text in config.unknown.items() if name.startswith(prefix) and name not in free}
