"""The dynamic configs of topics, brokers, groups and client metrics: changed by its rules' leave, in force at once.

It joins the rules of `controller.configs` with what is stored (`entity_configs`) and tells the metadata cache, the
replica manager and the broker's own live config. Loggers are this process's alone: see `loggers`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.dynamic import LISTENER_SECURITY, base_name, usable
from pykbroker.config.live import LiveConfig
from pykbroker.controller.configs import (
    BROKER,
    BROKER_LOGGER,
    CLIENT_METRICS,
    GROUP,
    TOPIC,
    Alteration,
    check_form,
    plan_broker,
    plan_client_metrics,
    plan_group,
    plan_topic,
)
from pykbroker.metadata import znodes
from pykbroker.metadata.store import StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.server import loggers
from pykbroker.server.entity_configs import EntityConfigs
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.replica_manager import ReplicaManager

log = logging.getLogger(__name__)

KINDS: Mapping[int, str] = {TOPIC: "topics", BROKER: "brokers", CLIENT_METRICS: "client-metrics", GROUP: "groups"}
"""Where each type of resource stands below `/config`."""


class DynamicConfigManager:
    """What AlterConfigs and its kin change, and what ListConfigResources lists."""

    def __init__(self, config: BrokerConfig, entities: EntityConfigs, metadata: MetadataCache) -> None:
        self.config = config if isinstance(config, LiveConfig) else LiveConfig(config)
        self.entities = entities
        self._metadata = metadata
        self._replicas: ReplicaManager | None = None
        self.check_broker: Callable[[BrokerConfig], None] = lambda after: None
        """Tries what this broker's config is to be, where only that tells; raises NotDynamic, ConfigError."""
        self.config.subscribe(self._broker_changed)

    # ---- following -------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Reads all configs but topics' before logs are opened. Raises StoreError."""
        await self.entities.load()
        self.entities.on_change("brokers", self._set_broker)
        self.entities.on_change("groups", self._set_group)
        self.entities.on_change("topics", self._set_topic)

    def start(self, replicas: ReplicaManager) -> None:
        """From now on logs follow what is changed."""
        self._replicas = replicas

    async def run(self) -> None:
        """Follows what other brokers change, until cancelled."""
        await self.entities.run()

    def _set_broker(self, entity: str, overrides: Mapping[str, str]) -> None:
        name = znodes.entity_name(entity.partition("/")[2])
        if name not in (None, str(self.config.node_id)):
            return
        values, complaints = usable(self.config, overrides, per_broker=name is not None)
        for complaint in complaints:
            log.error("dynamic config of %s: %s", "all brokers" if name is None else f"broker {name}", complaint)
        changed = self.config.update(default=values) if name is None else self.config.update(own=values)
        if changed:
            log.info("dynamic config now in force: %s", ", ".join(sorted(changed)))

    def _set_group(self, entity: str, overrides: Mapping[str, str]) -> None:
        name = znodes.entity_name(entity.partition("/")[2])
        if name is not None:
            self._metadata.set_group_overrides(name, overrides)

    def _set_topic(self, entity: str, overrides: Mapping[str, str]) -> None:
        name = entity.partition("/")[2]
        if self._metadata.topic(name) is None or overrides == self._metadata.overrides(name):
            return
        changed = sorted({key for key, _ in self._metadata.overrides(name).items() ^ overrides.items()})
        config = self._metadata.set_overrides(name, overrides)
        if self._replicas is not None:
            self._replicas.update_configs({name: config})
        log.info("changed the config of topic %s: %s", name, ", ".join(changed))

    def _broker_changed(self, changed: frozenset[str]) -> None:
        """What topics and groups inherit follows."""
        configs = self._metadata.defaults_changed()
        if self._replicas is not None:
            self._replicas.update_configs(configs)

    # ---- changing --------------------------------------------------------------------------------------------------

    async def alter(self, alterations: Sequence[Alteration], *, validate_only: bool = False) -> list[KafkaError | None]:
        """Changes configs; answers for each None or why not. A change is stored and in force by then."""
        return [await self._alter(alteration, validate_only) for alteration in alterations]

    async def _alter(self, alteration: Alteration, validate_only: bool) -> KafkaError | None:
        try:
            check_form(alteration)
            if alteration.type == BROKER_LOGGER:
                loggers.alter(alteration, self.config.node_id, validate_only=validate_only)
                return None
            plan = self._plans.get(alteration.type)
            if plan is None:
                raise KafkaError(ErrorCode.INVALID_REQUEST, f"Unknown resource type {alteration.type}")
            await plan(self, alteration, validate_only)
        except KafkaError as error:
            return error
        except StoreError as error:
            return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, str(error))
        return None

    async def _alter_topic(self, alteration: Alteration, validate_only: bool) -> None:
        name = alteration.name

        def plan(stored: Mapping[str, str]) -> Mapping[str, str]:
            return plan_topic(self.config, alteration, stored if self._metadata.topic(name) is not None else None)

        plan(self._metadata.overrides(name))
        if not validate_only:
            await self.entities.change(f"topics/{name}", plan)

    async def _alter_broker(self, alteration: Alteration, validate_only: bool) -> None:
        def plan(stored: Mapping[str, str]) -> Mapping[str, str]:
            return plan_broker(self.config, alteration, stored, self.check_broker)

        await self._change(znodes.entity("brokers", alteration.name or None), plan, validate_only)
        if not validate_only:
            files = {one.key for one in alteration.changes if base_name(one.key) in LISTENER_SECURITY}
            self.config.touch(frozenset(files))

    async def _alter_client_metrics(self, alteration: Alteration, validate_only: bool) -> None:
        await self._change(
            znodes.entity("client-metrics", alteration.name),
            lambda stored: plan_client_metrics(self.config, alteration, stored),
            validate_only,
        )

    async def _alter_group(self, alteration: Alteration, validate_only: bool) -> None:
        await self._change(
            znodes.entity("groups", alteration.name),
            lambda stored: plan_group(self.config, alteration, stored),
            validate_only,
        )

    async def _change(
        self, entity: str, plan: Callable[[Mapping[str, str]], Mapping[str, str]], validate_only: bool
    ) -> None:
        plan(self.entities.get(entity))
        if not validate_only:
            await self.entities.change(entity, plan)

    _plans: Mapping[int, Callable[[DynamicConfigManager, Alteration, bool], Awaitable[None]]] = {
        TOPIC: _alter_topic,
        BROKER: _alter_broker,
        CLIENT_METRICS: _alter_client_metrics,
        GROUP: _alter_group,
    }

    # ---- listing ---------------------------------------------------------------------------------------------------

    def overrides(self, resource_type: int, name: str) -> Mapping[str, str]:
        """What is set for a client metrics subscription or a group, by Kafka's names."""
        return self.entities.get(znodes.entity(KINDS[resource_type], name))

    def named(self, resource_type: int) -> Iterable[str]:
        """The names of the client metrics subscriptions, or groups, that have a config."""
        for entity, _ in self.entities.below(KINDS[resource_type]):
            name = znodes.entity_name(entity.partition("/")[2])
            if name is not None:
                yield name
