"""One broker's services without sockets, on a store in memory and logs in a temporary directory."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pykbroker.cluster.image import BrokerImage, Endpoint
from pykbroker.config.broker import BrokerConfig
from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.server.clock import SystemClock
from pykbroker.server.controller_runtime import ControllerRuntime
from pykbroker.server.disk import InlineDisk
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.purgatory import Purgatory
from pykbroker.server.replica_manager import ReplicaManager
from pykbroker.server.request import Handler, RequestContext
from pykbroker.storage.log_manager import LogManager


@dataclass
class OneBroker:
    """A started broker, asked as the dispatcher would ask it: the messages go through their bytes."""

    services: Any
    directory: Path

    async def ask(self, handler: Handler, request: Any, version: int, **context: Any) -> Any:
        """The answer to a request, as a client of that version reads it."""
        sent = handler.request.decode(memoryview(request.encode(version)), version)
        values = {
            "services": self.services,
            "api_key": int(handler.request.key),
            "api_version": version,
            "correlation_id": 1,
            "client_id": "test",
            "client_host": "/127.0.0.1",
            "listener": "PLAINTEXT",
            "local_address": ("127.0.0.1", 9092),
        } | context
        answer = await handler.call(sent, RequestContext(**values))
        return type(answer).decode(memoryview(answer.encode(version)), version)


@pytest.fixture
async def start_broker(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts a broker with config values by attribute."""
    logs: list[LogManager] = []

    async def start(**values: Any) -> OneBroker:
        config = BrokerConfig(**values)
        disk, clock, purgatory = InlineDisk(), SystemClock(), Purgatory()
        metadata = MetadataCache(config)
        controller = ControllerRuntime(config, EmbeddedStore(Database(None), disk), metadata, clock)
        await controller.load()
        logs.append(LogManager([tmp_path], metadata.log_config("")))
        logs[-1].open(metadata.log_config)
        replica_manager = ReplicaManager(logs[-1], metadata, purgatory, disk, clock)
        endpoints = {"PLAINTEXT": Endpoint("127.0.0.1", 9092, "PLAINTEXT")}
        await controller.start(replica_manager, BrokerImage(config.node_id, endpoints, config.broker_rack))
        services = SimpleNamespace(
            config=config,
            clock=clock,
            disk=disk,
            purgatory=purgatory,
            metadata=metadata,
            replica_manager=replica_manager,
            controller=controller,
        )
        return OneBroker(services, tmp_path)

    yield start
    for one in logs:
        one.close(sync=False)


@pytest.fixture
async def one_broker(start_broker: Callable[..., Any]) -> OneBroker:
    """A broker with the defaults."""
    broker: OneBroker = await start_broker()
    return broker
