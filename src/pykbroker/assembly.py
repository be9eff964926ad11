"""A broker's parts, put together over its opened storage: who is handed whom. Nothing runs here.

`broker.py` runs them, in the order that its nurseries tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypedDict

from pykbroker.apis import served
from pykbroker.config.client_metrics import REPORTER
from pykbroker.server.background import Jobs
from pykbroker.server.broker_channel import BrokerChannels, Connector
from pykbroker.server.fetch_sessions import FetchSessions
from pykbroker.server.group_coordinator import GroupCoordinator
from pykbroker.server.log_dir_events import LogDirEvents
from pykbroker.server.producer_ids import ProducerIds
from pykbroker.server.purgatory import Purgatory
from pykbroker.server.quotas import ClientQuotas
from pykbroker.server.replica_fetcher import ReplicaFetchers
from pykbroker.server.replica_manager import ReplicaManager
from pykbroker.server.services import Services
from pykbroker.server.share_coordinator import ShareCoordinator
from pykbroker.server.share_groups import ShareGroupService
from pykbroker.server.share_partitions import SharePartitions
from pykbroker.server.share_persister import SharePersister
from pykbroker.server.transaction_coordinator import TransactionCoordinator
from pykbroker.server.transaction_markers import TransactionMarkers
from pykbroker.server.transaction_verifier import TransactionVerifier

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig
    from pykbroker.metadata.store import MetadataStore
    from pykbroker.server.authorizer import Authorizer
    from pykbroker.server.clock import Clock
    from pykbroker.server.config_manager import DynamicConfigManager
    from pykbroker.server.controller_runtime import ControllerRuntime
    from pykbroker.server.credentials import Credentials
    from pykbroker.server.disk import Disk
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.telemetry import Receiver, Telemetry
    from pykbroker.storage.log_manager import LogManager


class Opened(Protocol):
    """Metadata and logs, opened and loaded."""

    metadata: MetadataCache
    logs: LogManager
    store: MetadataStore
    controller: ControllerRuntime
    configs: DynamicConfigManager
    authorizer: Authorizer | None
    credentials: Credentials


class Common(TypedDict):
    """What nearly every part is handed."""

    config: BrokerConfig
    clock: Clock
    metadata: MetadataCache


class Parts:
    """Everything that runs over a broker's storage, and what handlers may call of it (`services`)."""

    def __init__(
        self,
        config: BrokerConfig,
        clock: Clock,
        disk: Disk,
        opened: Opened,
        connector: Connector,
        receive: Receiver | None = None,
    ) -> None:
        self._common: Common = {"config": config, "clock": clock, "metadata": opened.metadata}
        self._opened = opened
        self._disk = disk
        self.purgatory = Purgatory()
        self.replicas = ReplicaManager(opened.logs, opened.metadata, self.purgatory, disk, clock)
        self.log_dir_events = LogDirEvents(opened.store, config.node_id)
        self.replicas.on_directory_lost = self.log_dir_events.directory_lost
        self.channels = BrokerChannels(config, opened.metadata, connector)
        self.fetchers = self.replicas.fetchers = ReplicaFetchers(
            self.channels, opened.metadata, self.replicas, disk, clock
        )
        self.jobs = Jobs(config, opened.logs, self.replicas, disk, clock)
        self.groups = GroupCoordinator(**self._common, replica_manager=self.replicas, disk=disk)
        self.producer_ids = ProducerIds(opened.store, config.node_id)
        self._make_transactions()
        self._make_shares()
        self.quotas = ClientQuotas(config, opened.configs.entities, clock, self.purgatory)
        opened.controller.on_deletion(lambda tps: self.groups.topics_deleted({tp.topic for tp in tps}))
        opened.controller.on_deletion(lambda tps: self.shares.topics_deleted())
        telemetry = _telemetry(config, opened, clock, receive)
        self.served = served(clustered=opened.metadata.clustered, telemetry=telemetry is not None)
        self.services = Services(
            **self._common,
            disk=disk,
            purgatory=self.purgatory,
            replica_manager=self.replicas,
            controller=opened.controller,
            configs=opened.configs,
            quotas=self.quotas,
            group_coordinator=self.groups,
            share_coordinator=self.shares,
            share_groups=self.share_groups,
            share_partitions=self.share_partitions,
            transaction_coordinator=self.transactions,
            transaction_markers=self.markers,
            transaction_verifier=self.verifier,
            fetch_sessions=FetchSessions(config.max_incremental_fetch_session_cache_slots),
            producer_ids=self.producer_ids,
            channels=self.channels,
            authorizer=opened.authorizer,
            credentials=opened.credentials,
            telemetry=telemetry,
        )

    def close(self) -> None:
        """Answers all that wait: the broker stops."""
        self.purgatory.close()
        self.groups.close()
        self.shares.close()
        self.transactions.close()

    def _make_transactions(self) -> None:
        self.markers = TransactionMarkers(
            **self._common, replica_manager=self.replicas, groups=self.groups, channels=self.channels
        )
        self.transactions = TransactionCoordinator(
            **self._common,
            replica_manager=self.replicas,
            disk=self._disk,
            producer_ids=self.producer_ids,
            markers=self.markers,
        )
        self.verifier = TransactionVerifier(
            **self._common, replica_manager=self.replicas, transactions=self.transactions, channels=self.channels
        )

    def _make_shares(self) -> None:
        """The share groups' states, the groups, and the share-partitions over the partitions led here."""
        metadata = self._opened.metadata
        self.shares = ShareCoordinator(**self._common, replica_manager=self.replicas, disk=self._disk)
        persister = SharePersister(self.shares, self._opened.controller, metadata, self.channels)
        self.share_partitions = SharePartitions(
            persister=persister,
            metadata=metadata,
            replica_manager=self.replicas,
            purgatory=self.purgatory,
            disk=self._disk,
            clock=self._common["clock"],
        )
        self.share_groups = ShareGroupService(self.groups, persister, metadata, self.replicas, self.channels)


def _telemetry(config: BrokerConfig, opened: Opened, clock: Clock, receive: Receiver | None) -> Telemetry | None:
    """What takes clients' metrics, where somebody wants them; imported only then."""
    if receive is None and REPORTER not in config.metric_reporters:
        return None
    from pykbroker.server.telemetry import Telemetry, log_size

    return Telemetry(config, opened.configs.entities, clock, receive or log_size)
