"""The pytest plugin: `kafka_broker`, a fresh broker for each test that asks for it.

Imports nothing of the broker until a test does ask: the plugin is loaded in every pytest run where pykbroker is
installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pykbroker.testing.broker import KafkaBroker


@pytest.fixture
def kafka_broker_config() -> Mapping[str, Any]:
    """Kafka's configuration keys for `kafka_broker`: override this fixture to set some."""
    return {}


@pytest.fixture
def kafka_broker(kafka_broker_config: Mapping[str, Any]) -> Iterator[KafkaBroker]:
    """A running broker of its own: `.bootstrap_servers`, `.host`, `.port`; its data is gone afterwards."""
    from pykbroker.testing.broker import KafkaBroker

    with KafkaBroker(config=kafka_broker_config) as broker:
        yield broker
