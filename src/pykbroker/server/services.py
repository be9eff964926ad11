"""What a handler may call: the broker's parts, put together by `broker.py`.

It holds no behaviour. Handlers reach it as `context.services`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig
    from pykbroker.server.authorizer import Authorizer
    from pykbroker.server.broker_channel import BrokerChannels
    from pykbroker.server.clock import Clock
    from pykbroker.server.config_manager import DynamicConfigManager
    from pykbroker.server.controller_runtime import ControllerRuntime
    from pykbroker.server.credentials import Credentials
    from pykbroker.server.disk import Disk
    from pykbroker.server.fetch_sessions import FetchSessions
    from pykbroker.server.group_coordinator import GroupCoordinator
    from pykbroker.server.metadata_cache import MetadataCache
    from pykbroker.server.producer_ids import ProducerIds
    from pykbroker.server.purgatory import Purgatory
    from pykbroker.server.quotas import ClientQuotas
    from pykbroker.server.replica_manager import ReplicaManager
    from pykbroker.server.share_coordinator import ShareCoordinator
    from pykbroker.server.share_groups import ShareGroupService
    from pykbroker.server.share_partitions import SharePartitions
    from pykbroker.server.telemetry import Telemetry
    from pykbroker.server.transaction_coordinator import TransactionCoordinator
    from pykbroker.server.transaction_markers import TransactionMarkers
    from pykbroker.server.transaction_verifier import TransactionVerifier


@dataclass(slots=True)
class Services:
    """The parts of one running broker."""

    config: BrokerConfig
    clock: Clock
    disk: Disk
    purgatory: Purgatory
    metadata: MetadataCache
    replica_manager: ReplicaManager
    controller: ControllerRuntime
    configs: DynamicConfigManager
    quotas: ClientQuotas
    group_coordinator: GroupCoordinator
    share_coordinator: ShareCoordinator
    share_groups: ShareGroupService
    share_partitions: SharePartitions
    transaction_coordinator: TransactionCoordinator
    transaction_markers: TransactionMarkers
    transaction_verifier: TransactionVerifier
    fetch_sessions: FetchSessions
    producer_ids: ProducerIds
    channels: BrokerChannels
    credentials: Credentials
    authorizer: Authorizer | None = None
    telemetry: Telemetry | None = None
