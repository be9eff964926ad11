"""Dynamic configs: stored, then in force; for topics, brokers, groups, client metrics and loggers."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pykbroker.cluster.image import ClusterImage, TopicImage
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.live import LiveConfig
from pykbroker.config.topic import LogConfig
from pykbroker.controller.configs import (
    APPEND,
    BROKER,
    BROKER_LOGGER,
    CLIENT_METRICS,
    DELETE,
    GROUP,
    SET,
    SUBTRACT,
    TOPIC,
    Alteration,
    Change,
)
from pykbroker.metadata import znodes
from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.protocol.errors import ErrorCode
from pykbroker.server.clock import SystemClock
from pykbroker.server.config_manager import DynamicConfigManager
from pykbroker.server.disk import InlineDisk
from pykbroker.server.entity_configs import EntityConfigs
from pykbroker.server.metadata_cache import MetadataCache


class Logs:
    """Stands for the replica manager."""

    def __init__(self) -> None:
        self.told: list[dict[str, LogConfig]] = []

    def update_configs(self, configs: Mapping[str, LogConfig]) -> None:
        self.told.append(dict(configs))


class Broker:
    def __init__(self, path: Path | None = None, **values: Any) -> None:
        self.config = LiveConfig(BrokerConfig(**values))
        self.store = EmbeddedStore(Database(path), InlineDisk())
        self.metadata = MetadataCache(self.config)
        self.configs = DynamicConfigManager(self.config, EntityConfigs(self.store, SystemClock()), self.metadata)
        self.logs: Any = Logs()

    async def start(self) -> "Broker":
        await self.store.ensure_path("/config/changes")
        await self.configs.load()
        topics = [TopicImage(name, UUID(int=at), {}) for at, name in enumerate(("t", "u"), 1)]
        self.metadata.publish(ClusterImage("id").with_topics(*topics))
        for topic in topics:
            self.metadata.set_overrides(topic.name, {})
        self.configs.start(self.logs)
        return self

    async def alter(self, kind: int, name: str, *changes: Change, **options: Any) -> tuple[ErrorCode, str | None]:
        (error,) = await self.configs.alter([Alteration(name, changes, type=kind)], **options)
        return (ErrorCode.NONE, None) if error is None else (error.code, error.message)


FINE = (ErrorCode.NONE, None)


async def test_a_topics_config_is_stored_then_in_force() -> None:
    broker = await Broker().start()
    for value in ("5", "6"):
        assert await broker.alter(TOPIC, "t", Change("retention.ms", value)) == FINE
        assert znodes.decode_config((await broker.store.get("/config/topics/t")).data) == {"retention.ms": value}
        assert broker.metadata.overrides("t") == {"retention.ms": value}
        assert broker.metadata.log_config("t").retention_ms == int(value)
        assert broker.logs.told[-1] == {"t": broker.metadata.log_config("t")}


async def test_what_is_only_validated_or_stays_the_same_is_not_written() -> None:
    broker = await Broker().start()
    await broker.alter(TOPIC, "t", Change("retention.ms", "5"))
    assert await broker.alter(TOPIC, "t", Change("retention.ms", "6"), validate_only=True) == FINE
    assert await broker.alter(TOPIC, "t", Change("retention.ms", "5")) == FINE
    assert (await broker.alter(TOPIC, "no", validate_only=True))[0] is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert (await broker.store.get("/config/topics/t")).stat.version == 0
    assert len(broker.logs.told) == 1


async def test_topics_inherit_what_a_broker_is_set_to_while_it_runs() -> None:
    broker = await Broker().start()
    await broker.alter(TOPIC, "u", Change("retention.ms", "5"))
    assert await broker.alter(BROKER, "", Change("log.retention.ms", "7")) == FINE
    assert [broker.metadata.log_config(name).retention_ms for name in ("t", "u", "unknown")] == [7, 5, 7]
    assert broker.logs.told[-1]["t"].retention_ms == 7
    assert await broker.alter(BROKER, "1", Change("log.retention.ms", "9")) == FINE
    assert broker.metadata.log_config("t").retention_ms == 9
    assert await broker.alter(BROKER, "1", Change("log.retention.ms", None, DELETE)) == FINE
    assert broker.metadata.log_config("t").retention_ms == 7


async def test_a_brokers_config_is_stored_where_kafka_has_it() -> None:
    broker = await Broker().start()
    await broker.alter(BROKER, "", Change("log.cleanup.policy", "compact", APPEND))
    await broker.alter(BROKER, "1", Change("max.connections", "5"))
    default = await broker.store.get("/config/brokers/<default>")
    assert default.data == b'{"version":1,"config":{"log.cleanup.policy":"delete,compact"}}'
    own = await broker.store.get("/config/brokers/1")
    assert znodes.decode_config(own.data) == {"max.connections": "5"}
    assert broker.config.max_connections == 5


async def test_dynamic_configs_are_there_after_a_restart(tmp_path: Path) -> None:
    broker = await Broker(tmp_path / "metadata.db").start()
    await broker.alter(BROKER, "1", Change("max.connections", "5"))
    await broker.alter(GROUP, "g", Change("share.auto.offset.reset", "earliest"))
    await broker.store.close()
    again = await Broker(tmp_path / "metadata.db").start()
    assert again.config.max_connections == 5
    assert again.metadata.group_config("g").share_auto_offset_reset == "earliest"
    await again.store.close()


async def test_what_is_stored_and_can_not_be_read_is_said_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    await broker.store.ensure_path("/config/brokers")
    stored = {"max.connections": "5", "broker.rack": "r"}
    await broker.store.create("/config/brokers/1", znodes.encode_config(stored))
    await broker.start()
    assert broker.config.max_connections == 5
    assert broker.config.broker_rack is None
    assert "broker.rack is ignored" in caplog.text


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("2", Change("max.connections", "5"), "Unexpected broker id, expected 1, but received 2"),
        ("one", Change("max.connections", "5"), "Node id must be an integer, but it is: one"),
        ("1", Change("broker.rack", "r"), "Cannot update these configs dynamically: [broker.rack]"),
        (
            "1",
            Change("max.connections", "many"),
            "Invalid value many for configuration max.connections: Not a number of type INT",
        ),
        ("1", Change("max.connections", None), "Null value not supported for : max.connections"),
        ("1", Change("max.connections", "5", 9), "Unknown operations type 9"),
    ],
)
async def test_what_a_broker_refuses(name: str, change: Change, said: str) -> None:
    broker = await Broker().start()
    assert await broker.alter(BROKER, name, change) == (ErrorCode.INVALID_REQUEST, said)
    assert await broker.store.find("/config/brokers/1") is None


async def test_a_brokers_lists() -> None:
    broker = await Broker().start()
    code, said = await broker.alter(BROKER, "1", Change("max.connections", "5", APPEND))
    assert (code, said) == (
        ErrorCode.INVALID_CONFIG,
        "Config value append is not allowed for config key: max.connections",
    )
    assert (await broker.alter(BROKER, "1", Change("no.such", "5", SUBTRACT)))[1] == "Unknown config name: no.such"


async def test_a_groups_config() -> None:
    broker = await Broker().start()
    assert broker.metadata.group_config("g").consumer_session_timeout_ms == 45000
    assert await broker.alter(GROUP, "g/1", Change("consumer.session.timeout.ms", "50000")) == FINE
    assert broker.metadata.group_config("g/1").consumer_session_timeout_ms == 50000
    assert broker.metadata.group_config("g").consumer_session_timeout_ms == 45000
    assert list(broker.configs.named(GROUP)) == ["g/1"]
    assert await broker.alter(GROUP, "g/1", Change("consumer.session.timeout.ms", None, DELETE)) == FINE
    assert broker.metadata.group_config("g/1").consumer_session_timeout_ms == 45000
    assert list(broker.configs.named(GROUP)) == []
    assert await broker.alter(GROUP, "") == (ErrorCode.INVALID_REQUEST, "Default group resources are not allowed.")
    assert await broker.alter(GROUP, "g", Change("no.such", "1")) == (
        ErrorCode.INVALID_CONFIG,
        "Unknown group config name: no.such",
    )


async def test_a_client_metrics_subscription() -> None:
    broker = await Broker().start()
    changes = Change("metrics", "org.apache.kafka"), Change("match", "client_id=app-.*")
    assert await broker.alter(CLIENT_METRICS, "s", *changes) == FINE
    assert broker.configs.overrides(CLIENT_METRICS, "s") == {"metrics": "org.apache.kafka", "match": "client_id=app-.*"}
    assert list(broker.configs.named(CLIENT_METRICS)) == ["s"]
    for change, code in (
        (Change("interval.ms", "99"), ErrorCode.INVALID_REQUEST),
        (Change("interval.ms", "soon"), ErrorCode.INVALID_CONFIG),
        (Change("match", "client_id=("), ErrorCode.INVALID_CONFIG),
        (Change("metrics", "a", APPEND), ErrorCode.INVALID_CONFIG),
        (Change("no.such", "1"), ErrorCode.INVALID_REQUEST),
    ):
        assert (await broker.alter(CLIENT_METRICS, "s", change))[0] is code
    assert (await broker.alter(CLIENT_METRICS, ""))[1] == "Subscription name can't be empty"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    one = logging.getLogger("pykbroker.tests.levels")
    yield one
    one.setLevel(logging.NOTSET)


async def test_loggers_levels_are_pythons(logger: logging.Logger) -> None:
    broker = await Broker().start()
    assert await broker.alter(BROKER_LOGGER, "1", Change(logger.name, "TRACE"), validate_only=True) == FINE
    assert logger.level == logging.NOTSET
    for name, level in (("TRACE", 5), ("WARN", logging.WARNING), ("FATAL", logging.CRITICAL)):
        assert await broker.alter(BROKER_LOGGER, "1", Change(logger.name, name)) == FINE
        assert logger.level == level
    assert await broker.alter(BROKER_LOGGER, "1", Change(logger.name, None, DELETE)) == FINE
    assert logger.level == logging.NOTSET


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("", Change("root", "INFO"), ErrorCode.INVALID_REQUEST),
        ("2", Change("root", "INFO"), ErrorCode.INVALID_REQUEST),
        ("1", Change("no.such", "INFO"), ErrorCode.INVALID_CONFIG),
        ("1", Change("root", "LOUD"), ErrorCode.INVALID_CONFIG),
        ("1", Change("root", None, DELETE), ErrorCode.INVALID_REQUEST),
        ("1", Change("root", "INFO", APPEND), ErrorCode.INVALID_REQUEST),
        ("1", Change("root", "INFO", SUBTRACT), ErrorCode.INVALID_REQUEST),
        ("1", Change("root", "INFO", 9), ErrorCode.INVALID_REQUEST),
    ],
)
async def test_what_loggers_refuse(logger: logging.Logger, name: str, change: Change, code: ErrorCode) -> None:
    broker = await Broker().start()
    changes = Change(logger.name, "INFO", SET), change
    assert (await broker.alter(BROKER_LOGGER, name, *changes))[0] is code
    assert logger.level == logging.NOTSET


async def test_alter_configs_knows_no_loggers() -> None:
    broker = await Broker().start()
    (refused,) = await broker.configs.alter([Alteration("1", [], replaces=True, type=BROKER_LOGGER)])
    assert refused is not None
    assert refused.message == "Unknown resource type 8"


async def test_a_store_that_fails_changes_nothing() -> None:
    broker = await Broker().start()
    await broker.store.delete("/config/changes", recursive=True)
    code, _ = await broker.alter(BROKER, "1", Change("max.connections", "5"))
    assert code is ErrorCode.KAFKA_STORAGE_ERROR
    assert broker.config.max_connections != 5
