"""A Kafka broker in Python, for development and tests: `Broker` and `BrokerConfig` embed it in a trio program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pykbroker.broker import Broker
    from pykbroker.config.broker import BrokerConfig

__all__ = ["Broker", "BrokerConfig", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports what is asked for: `import pykbroker` alone costs nothing."""
    if name == "Broker":
        from pykbroker.broker import Broker

        return Broker
    if name == "BrokerConfig":
        from pykbroker.config.broker import BrokerConfig

        return BrokerConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
