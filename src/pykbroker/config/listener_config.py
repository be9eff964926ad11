"""A listener's own values: `listener.name.NAME.KEY` before `KEY`, for SASL's keys with a mechanism between.

It parses what it finds as the broker's own keys are parsed. It never reads a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pykbroker.config.broker import BROKER_KEYS, BrokerConfig


class ListenerConfig:
    """The config as one listener sees it."""

    def __init__(self, config: BrokerConfig, listener: str) -> None:
        self._config = config
        self._prefix = f"listener.name.{listener.lower()}."
        self.name = listener

    def value(self, key: str, mechanism: str | None = None) -> Any:
        """The value of a broker's key for this listener, and for one SASL mechanism of it; raises ConfigError."""
        for name in self._names(key, mechanism):
            if name in self._config.unknown:
                return BROKER_KEYS[key].parse(self._config.unknown[name])
        return self._config.value(key)

    def subscribe(self, changed: Callable[[frozenset[str]], None]) -> None:
        """Has `changed` called with the names of keys that have another value now."""
        self._config.subscribe(changed)

    def is_own(self, key: str) -> bool:
        """Whether the listener has a value of its own."""
        return self._prefix + key in self._config.unknown

    def origin(self, key: str, mechanism: str | None = None) -> str:
        """The name under which the value was given, for a person to find it."""
        for name in self._names(key, mechanism):
            if name in self._config.unknown:
                return name
        return key

    def _names(self, key: str, mechanism: str | None) -> list[str]:
        names = [self._prefix + key]
        if mechanism is not None:
            names.insert(0, f"{self._prefix}{mechanism.lower()}.{key}")
            names.append(f"{mechanism.lower()}.{key}")
        return names
