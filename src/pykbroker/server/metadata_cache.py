"""The cluster as this broker's handlers see it, and the addresses that a client is told.

It holds the current image, and each topic's and group's effective config. It never writes: the controller publishes
to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import trio

from pykbroker.cluster.image import (
    INTERNAL_TOPICS,
    NO_EPOCH,
    BrokerImage,
    ClusterImage,
    Endpoint,
    PartitionState,
    TopicImage,
)
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.dynamic_listeners import ADDRESSES
from pykbroker.config.group import GROUP_KEYS, DynamicGroupConfig
from pykbroker.config.keys import ConfigError
from pykbroker.config.listeners import unmapped
from pykbroker.config.topic import LogConfig
from pykbroker.protocol.connection import Encoded
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.request import RequestContext

log = logging.getLogger(__name__)


class BrokerAddress(NamedTuple):
    """A broker as one client should reach it."""

    id: int
    host: str
    port: int
    rack: str | None


class MetadataCache:
    """What is known of the cluster, at this moment."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._defaults = LogConfig.resolve(config, {})
        self._log_configs: dict[str, LogConfig] = {}
        self._overrides: dict[str, Mapping[str, str]] = {}
        self._changed = trio.Event()
        self._group_overrides: dict[str, Mapping[str, str]] = {}
        self._group_configs: dict[str | None, DynamicGroupConfig] = {}
        self._advertised = {listener.name: listener for listener in config.advertised}
        config.subscribe(self._config_changed)
        self.image = ClusterImage(cluster_id="")
        self.encoded: dict[Hashable, Encoded] = {}
        """Answers that hold as long as the image does, by what else they depend on."""
        self.clustered = False
        """Whether there can be other brokers; one alone takes no controller's orders from anywhere."""
        self.broker_epoch = NO_EPOCH
        """This broker's epoch, of its last registration; followers' fetches carry it."""

    def _config_changed(self, changed: frozenset[str]) -> None:
        if changed & ADDRESSES:
            self._advertised = {listener.name: listener for listener in self._config.advertised}
            self.encoded = {}

    @property
    def config(self) -> BrokerConfig:
        """This broker's config."""
        return self._config

    def publish(self, image: ClusterImage) -> None:
        """Makes an image the current one."""
        for name in self.image.topics.keys() - image.topics.keys():
            self._log_configs.pop(name, None)
            self._overrides.pop(name, None)
        self.image = image
        self.encoded = {}
        if self._changed.statistics().tasks_waiting:
            self._changed.set()
            self._changed = trio.Event()

    async def wait_until(self, ready: Callable[[ClusterImage], bool], timeout: float) -> bool:
        """Waits until an image satisfies `ready`; False where none has after `timeout` seconds."""
        with trio.move_on_after(timeout):
            while not ready(self.image):
                await self._changed.wait()
        return ready(self.image)

    def knows_config(self, topic: str) -> bool:
        """Whether a topic's config has been read from the store."""
        return topic in self._log_configs

    def set_overrides(self, topic: str, overrides: Mapping[str, str]) -> LogConfig:
        """Makes a topic's effective config from its overrides; before the topic itself is published, too."""
        try:
            config = LogConfig.resolve(self._config, overrides) if overrides else self._defaults
        except ConfigError as error:
            log.error("topic %s keeps the broker's defaults, as its config can't be read: %s", topic, error)
            config = self._defaults
        self._log_configs[topic] = config
        self._overrides[topic] = overrides
        return config

    def overrides(self, topic: str) -> Mapping[str, str]:
        """A topic's own config, by Kafka's names."""
        return self._overrides.get(topic, {})

    def defaults_changed(self) -> dict[str, LogConfig]:
        """The broker's own config has changed: says what every topic's effective config is now."""
        self._group_configs = {}
        self._defaults = LogConfig.resolve(self._config, {})
        return {topic: self.set_overrides(topic, overrides) for topic, overrides in list(self._overrides.items())}

    def set_group_overrides(self, group_id: str, overrides: Mapping[str, str]) -> None:
        """What a group has set for itself, from now on."""
        self._group_configs.pop(group_id, None)
        if overrides:
            self._group_overrides[group_id] = overrides
        else:
            self._group_overrides.pop(group_id, None)

    def group_overrides(self, group_id: str) -> Mapping[str, str]:
        """A group's own config, by Kafka's names, whether the group is there or not."""
        return self._group_overrides.get(group_id, {})

    def group_values(self, group_id: str) -> dict[str, Any]:
        """A group's own config, parsed and within the broker's bounds, by Kafka's names: what is set alone."""
        own = self._group_overrides.get(group_id)
        if own is None:
            return {}
        config = self.group_config(group_id)
        return {name: getattr(config, GROUP_KEYS[name].attribute) for name in own if name in GROUP_KEYS}

    def group_config(self, group_id: str) -> DynamicGroupConfig:
        """A group's effective config: to be asked for whenever it is needed, as it may change."""
        name = group_id if group_id in self._group_overrides else None
        config = self._group_configs.get(name)
        if config is None:
            try:
                config = DynamicGroupConfig.resolve(self._config, self.group_overrides(group_id))
            except ConfigError as error:
                log.error("group %s keeps the broker's defaults, as its config can't be read: %s", group_id, error)
                config = DynamicGroupConfig.resolve(self._config, {})
            self._group_configs[name] = config
        return config

    def topic(self, name: str) -> TopicImage | None:
        """A topic by its name."""
        return self.image.topics.get(name)

    def topic_name(self, topic_id: UUID) -> str | None:
        """The name of a topic by its id."""
        return self.image.topic_names.get(topic_id)

    def topic_id(self, name: str) -> UUID | None:
        """The id of a topic by its name."""
        topic = self.image.topics.get(name)
        return None if topic is None else topic.topic_id

    def partition(self, tp: TopicPartition) -> PartitionState | None:
        """A partition's leader, epochs and replicas."""
        topic = self.image.topics.get(tp.topic)
        return None if topic is None else topic.partitions.get(tp.partition)

    def log_config(self, topic: str) -> LogConfig:
        """A topic's effective config; this broker's defaults for a topic that isn't known."""
        return self._log_configs.get(topic, self._defaults)

    @property
    def verifies_transactions(self) -> bool:
        """Whether a partition asks the coordinator before a transaction's first records are written (KIP-890)."""
        return self._config.transaction_partition_verification_enable

    def is_internal(self, topic: str) -> bool:
        """Whether a topic is one of Kafka's own, which clients may read but not write."""
        return topic in INTERNAL_TOPICS

    def inter_broker_endpoint(self, broker_id: int) -> Endpoint | None:
        """Where other brokers reach a live broker; None for one that isn't known to be alive."""
        broker = self.image.brokers.get(broker_id)
        return None if broker is None else broker.endpoints.get(self._config.inter_broker_listener)

    def brokers_for(self, context: RequestContext) -> list[BrokerAddress]:
        """The live brokers with the addresses that a client on this connection can use, by id."""
        addresses = (self._address(broker, context) for broker in self.image.brokers.values())
        return [address for address in addresses if address is not None]

    def broker_for(self, context: RequestContext, broker_id: int) -> BrokerAddress | None:
        """One live broker with its address for this connection; None where it has none there."""
        broker = self.image.brokers.get(broker_id)
        return None if broker is None else self._address(broker, context)

    def _address(self, broker: BrokerImage, context: RequestContext) -> BrokerAddress | None:
        if broker.id == self._config.node_id:
            host, port = self._own_address(context)
            return BrokerAddress(broker.id, host, port, broker.rack)
        endpoint = broker.endpoints.get(context.listener)
        return None if endpoint is None else BrokerAddress(broker.id, endpoint.host, endpoint.port, broker.rack)

    def _own_address(self, context: RequestContext) -> tuple[str, int]:
        """The advertised address of the connection's listener, else where that very connection reached the broker.

        An IPv4 client of a socket for both families is told the IPv4 address.
        """
        host, port = unmapped(context.local_address[0]), context.local_address[1]
        advertised = self._advertised.get(context.listener)
        if advertised is not None:
            return advertised.host or host, advertised.port or port
        return host, port
