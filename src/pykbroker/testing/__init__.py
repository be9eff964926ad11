"""A broker or a cluster inside a test: context managers and the pytest plugin.

The names are looked up on first use, because pytest imports this package, with the plugin in it, in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pykbroker.testing.broker import AsyncKafkaBroker, KafkaBroker, open_kafka_broker
    from pykbroker.testing.cluster import AsyncKafkaCluster, KafkaCluster, open_kafka_cluster

__all__ = [
    "AsyncKafkaBroker",
    "AsyncKafkaCluster",
    "KafkaBroker",
    "KafkaCluster",
    "open_kafka_broker",
    "open_kafka_cluster",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{'cluster' if name.lower().endswith('cluster') else 'broker'}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
