"""A broker's config as it is at this moment: what was set dynamically over what it was started with (KIP-226).

Parts hold it as they would hold a BrokerConfig: a value read when it is needed is the current one, and `subscribe`
tells of changes to those who have to act. It decides nothing about what may be changed; `dynamic.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pykbroker.config.broker import BROKER_KEYS, BrokerConfig

Changed = Callable[[frozenset[str]], None]


class LiveConfig(BrokerConfig):
    """A BrokerConfig that follows `update`; a broker's own dynamic values stand before the cluster's, before static."""

    static: BrokerConfig
    """What the broker was started with."""

    def __init__(self, static: BrokerConfig) -> None:
        self.__dict__.update(static.__dict__)
        self.__dict__.update(static=static, dynamic={}, dynamic_default={}, _subscribers=[])

    @property
    def inter_broker_listener(self) -> str:
        """As the broker was started with it, whichever listeners have come since."""
        return self.static.inter_broker_listener

    def subscribe(self, changed: Changed) -> None:
        """Has `changed` called, after each update, with Kafka's names of the keys that have another value now."""
        self.__dict__["_subscribers"].append(changed)

    def update(
        self, *, own: Mapping[str, str] | None = None, default: Mapping[str, str] | None = None
    ) -> frozenset[str]:
        """Sets all that is dynamic for this broker, for the cluster, or both; says which keys changed.

        Raises ConfigError, and changes nothing then, for a value that can't be read.
        """
        own = self.dynamic if own is None else dict(own)
        default = self.dynamic_default if default is None else dict(default)
        values, given, unknown = _over(self.static, {**default, **own})
        names = {key.name for key in BROKER_KEYS.values() if values[key.attribute] != self.__dict__[key.attribute]}
        names |= {name for name in unknown.keys() | self.unknown.keys() if unknown.get(name) != self.unknown.get(name)}
        self.__dict__.update(values, given=given, unknown=unknown, dynamic=own, dynamic_default=default)
        changed = frozenset(names)
        self.touch(changed)
        return changed

    def touch(self, names: frozenset[str]) -> None:
        """Tells subscribers of keys that name files which may have changed, if the values haven't (KAFKA-14136)."""
        if names:
            for subscriber in tuple(self.__dict__["_subscribers"]):
                subscriber(names)

    def with_update(
        self, *, own: Mapping[str, str] | None = None, default: Mapping[str, str] | None = None
    ) -> LiveConfig:
        """What this config would be after an update; nobody is told. Raises ConfigError."""
        other = LiveConfig(self.static)
        other.update(
            own=self.dynamic if own is None else own, default=self.dynamic_default if default is None else default
        )
        return other


def _over(static: BrokerConfig, texts: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """The values by attribute, and what is given, known and unknown, with some texts over a static config."""
    values = {key.attribute: static.__dict__[key.attribute] for key in BROKER_KEYS.values()}
    given, unknown = dict(static.given), dict(static.unknown)
    for name, text in texts.items():
        key = BROKER_KEYS.get(name)
        if key is None:
            unknown[name] = text
        else:
            values[key.attribute] = key.parse(text)
            given[name] = text
    return values, given, unknown
