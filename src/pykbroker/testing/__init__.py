"""A broker inside a test: context managers and the pytest plugin.

The names are looked up on first use, because pytest imports this package, with the plugin in it, in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pykbroker.testing.broker import AsyncKafkaBroker, KafkaBroker, open_kafka_broker

__all__ = ["AsyncKafkaBroker", "KafkaBroker", "open_kafka_broker"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from pykbroker.testing import broker

        return getattr(broker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
