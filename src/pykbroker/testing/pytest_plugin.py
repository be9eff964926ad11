"""The pytest plugin: `kafka_broker` and `kafka_cluster`, fresh ones for each test that asks for them.

Imports nothing of the broker until a test does ask: the plugin is loaded in every pytest run where pykbroker is
installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pykbroker.testing.broker import KafkaBroker
    from pykbroker.testing.cluster import KafkaCluster


@pytest.fixture
def kafka_broker_config() -> Mapping[str, Any]:
    """Kafka's configuration keys for `kafka_broker`: override this fixture to set some."""
    return {}


@pytest.fixture
def kafka_broker(kafka_broker_config: Mapping[str, Any]) -> Iterator[KafkaBroker]:
    """A running broker of its own: `.bootstrap_servers`, `.host`, `.port`; its data is gone afterwards."""
    from pykbroker.testing.broker import KafkaBroker

    with _one_line():
        broker = KafkaBroker(config=kafka_broker_config).start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def kafka_cluster_config() -> Mapping[str, Any]:
    """Kafka's configuration keys for the brokers of `kafka_cluster`: override this fixture to set some."""
    return {}


@pytest.fixture
def kafka_cluster(kafka_cluster_config: Mapping[str, Any]) -> Iterator[KafkaCluster]:
    """Three running brokers: `.bootstrap_servers`, `.leader(topic)`, `.kill(broker)`, `.cut(a, b)`; gone afterwards."""
    from pykbroker.testing.cluster import KafkaCluster

    with _one_line():
        cluster = KafkaCluster(config=kafka_cluster_config).start()
    with closing(cluster):
        yield cluster


@contextmanager
def _one_line() -> Iterator[None]:
    """A broker that can't start fails its test with the line that a person would see, not with our call stack."""
    from pykbroker.broker import StartupError
    from pykbroker.config.keys import ConfigError

    try:
        yield
    except (ConfigError, StartupError) as error:
        raise pytest.fail.Exception(f"the broker can't start: {error}", pytrace=False) from None
