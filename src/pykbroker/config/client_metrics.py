"""The keys of a client metrics subscription (KIP-714), and what its `match` asks of a client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pykbroker.config.keys import Int, Key, List, keys_of

MATCHED = frozenset(
    (
        "client_id",
        "client_instance_id",
        "client_software_name",
        "client_software_version",
        "client_source_address",
        "client_source_port",
    )
)
"""What is known of a client and can be matched."""
REPORTER = "pykbroker.telemetry.Log"
"""In `metric.reporters`: what clients push is taken, and its size logged at debug level."""
MIN_INTERVAL_MS, MAX_INTERVAL_MS = 100, 3_600_000


class ClientMetricsKeys:
    """What a subscription may set, by attribute."""

    interval_ms = Int(300_000)
    match = List("")
    metrics = List("")


CLIENT_METRICS_KEYS: dict[str, Key[Any]] = keys_of(ClientMetricsKeys)


class Subscription(ClientMetricsKeys):
    """A subscription's values, typed."""

    def __init__(self, overrides: Mapping[str, str]) -> None:
        for name, text in overrides.items():
            key = CLIENT_METRICS_KEYS.get(name)
            if key is not None:
                self.__dict__[key.attribute] = key.parse(text)

    def matches(self, client: Mapping[str, str]) -> bool:
        """Whether a client, described under the names in `MATCHED`, is one that is asked for metrics."""
        return all(pattern.fullmatch(client.get(name, "")) for name, pattern in parse_match(self.match).items())


def parse_match(patterns: tuple[str, ...]) -> dict[str, re.Pattern[str]]:
    """`client_id=app-.*` and the like, by name; raises ValueError with the one that can't be read."""
    found = {}
    for text in patterns:
        name, equals, pattern = (part.strip() for part in text.partition("="))
        if not equals or not pattern or "=" in pattern or name not in MATCHED:
            raise ValueError(text)
        try:
            found[name] = re.compile(pattern)
        except re.error:
            raise ValueError(text) from None
    return found
