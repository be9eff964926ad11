"""One broker's services without sockets, on a store in memory and logs in a temporary directory; and, for whole
conversations, a broker behind a socket that a module's tests share."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from pykbroker.cluster.image import BrokerImage, Endpoint
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.live import LiveConfig
from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.delete_topics import DeleteTopicsRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.server.clock import SystemClock
from pykbroker.server.config_manager import DynamicConfigManager
from pykbroker.server.controller_runtime import ControllerRuntime
from pykbroker.server.disk import InlineDisk
from pykbroker.server.entity_configs import EntityConfigs
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.purgatory import Purgatory
from pykbroker.server.quotas import ClientQuotas
from pykbroker.server.replica_manager import ReplicaManager
from pykbroker.server.request import Handler, RequestContext
from pykbroker.storage.log_manager import LogManager
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient


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
        return handler.response.decode(memoryview(answer.encode(version)), version)


@pytest.fixture
async def start_broker(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts a broker with config values by attribute."""
    logs: list[LogManager] = []

    async def start(**values: Any) -> OneBroker:
        config = LiveConfig(BrokerConfig(**values))
        disk, clock, purgatory = InlineDisk(), SystemClock(), Purgatory()
        metadata = MetadataCache(config)
        store = EmbeddedStore(Database(None), disk)
        controller = ControllerRuntime(config, store, metadata, clock)
        await controller.load()
        logs.append(LogManager([tmp_path], metadata.log_config("")))
        logs[-1].open(metadata.log_config)
        replica_manager = ReplicaManager(logs[-1], metadata, purgatory, disk, clock)
        endpoints = {"PLAINTEXT": Endpoint("127.0.0.1", 9092, "PLAINTEXT")}
        await controller.start(replica_manager, BrokerImage(config.node_id, endpoints, config.broker_rack))
        configs = DynamicConfigManager(config, EntityConfigs(store, clock), metadata)
        configs.start(replica_manager)
        services = SimpleNamespace(
            config=config,
            configs=configs,
            quotas=ClientQuotas(config, configs.entities, clock, purgatory),
            clock=clock,
            disk=disk,
            purgatory=purgatory,
            metadata=metadata,
            replica_manager=replica_manager,
            controller=controller,
            authorizer=None,
            telemetry=None,
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


@dataclass(frozen=True)
class Topic:
    """A topic as requests of any version name it."""

    name: str
    id: UUID = ZERO_UUID


_names = count()


class Wire(WireClient):
    """A connection to the shared broker, with topics of its own."""

    def topic(self, partitions: int = 1, name: str | None = None, **config: str) -> Topic:
        """A new topic; its config by attribute (`max_message_bytes="1000"`)."""
        name = name or f"topic-{next(_names)}"
        configs = [
            CreateTopicsRequest.Topic.Config(name=key.replace("_", "."), value=value) for key, value in config.items()
        ]
        asked = CreateTopicsRequest.Topic(name=name, num_partitions=partitions, replication_factor=1, configs=configs)
        (made,) = self.request(CreateTopicsRequest(topics=[asked], timeout_ms=5000), 7).topics
        assert made.error_code == 0, made
        return Topic(name, made.topic_id)

    def delete(self, topic: Topic) -> None:
        """Deletes a topic."""
        (gone,) = self.request(DeleteTopicsRequest(topic_names=[topic.name], timeout_ms=5000), 5).responses
        assert gone.error_code == 0, gone

    def produce(
        self,
        topic: Topic,
        records: bytes | None,
        version: int = 13,
        *,
        partition: int = 0,
        acks: int = -1,
        **fields: Any,
    ) -> Any:
        """What a partition answers to records."""
        data = ProduceRequest.TopicData.PartitionData(index=partition, records=records)
        topic_data = ProduceRequest.TopicData(name=topic.name, topic_id=topic.id, partition_data=[data])
        request = ProduceRequest(acks=acks, timeout_ms=1000, topic_data=[topic_data], **fields)
        ((answer,),) = (one.partition_responses for one in self.request(request, version).responses)
        return answer


@pytest.fixture(scope="module")
def shared_broker() -> Iterator[KafkaBroker]:
    """One broker for a module: its tests make topics of their own."""
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture
def wire(shared_broker: KafkaBroker) -> Iterator[Wire]:
    """A connection to the shared broker."""
    with Wire(shared_broker.host, shared_broker.port) as client:
        yield client


@pytest.fixture
def wire_to() -> Iterator[Callable[..., Wire]]:
    """Makes connections to whatever has a host and a port."""
    made: list[Wire] = []

    def connect(broker: Any) -> Wire:
        made.append(Wire(broker.host, broker.port))
        return made[-1]

    yield connect
    for client in made:
        client.close()
