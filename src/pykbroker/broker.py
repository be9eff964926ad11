"""START HERE. Builds a broker's parts and opens the nurseries: what is opened first is closed last.

metadata → storage and its jobs → coordinators and controller → connections → listeners. It decides the order of
starting and stopping, and what a person is told when starting fails; nothing else.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import trio

from pykbroker.assembly import Parts
from pykbroker.cluster.image import BrokerImage, Endpoint
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.dynamic import NotDynamic
from pykbroker.config.dynamic_listeners import ADDRESSES, touched
from pykbroker.config.keys import ConfigError
from pykbroker.config.live import LiveConfig
from pykbroker.config.topic import LogConfig
from pykbroker.metadata.embedded import FILE_NAME, Database, EmbeddedStore
from pykbroker.metadata.store import MetadataStore, StoreError
from pykbroker.network.dispatch import Dispatcher
from pykbroker.network.listener_security import Securities
from pykbroker.network.socket_server import SocketServer
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.authorizer import authorizer_for
from pykbroker.server.background import Jobs
from pykbroker.server.broker_channel import BrokerChannels, Connector
from pykbroker.server.clock import Clock, SystemClock
from pykbroker.server.config_manager import DynamicConfigManager
from pykbroker.server.controller_runtime import ControllerRuntime
from pykbroker.server.credentials import Credentials
from pykbroker.server.disk import Disk, ThreadedDisk
from pykbroker.server.entity_configs import EntityConfigs
from pykbroker.server.inter_broker import connector_for
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.replica_manager import ReplicaManager
from pykbroker.server.signals import stopping_signals
from pykbroker.storage.log_manager import DataDirectoryError, LogManager

if TYPE_CHECKING:
    from pykbroker.server.telemetry import Receiver

log = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""How long requests in hand may take when the broker stops."""
JOIN_SECONDS = 10.0
"""How long a broker waits for the controller's first word before it says that it is ready all the same."""


E = TypeVar("E", bound=BaseException)


class BrokerError(Exception):
    """The broker can't go on: one line for a person, saying what is wrong and where."""


class StartupError(BrokerError):
    """The broker can't start."""


class StorageLost(BrokerError):
    """No data directory is left that can be written and read."""


class Ready(NamedTuple):
    """A broker that serves: where, and who it is."""

    host: str
    port: int
    node_id: int
    cluster_id: str
    data_dir: str


class Broker:
    """One broker: `serve` runs it until `stop`. An `ephemeral` one's data is gone afterwards."""

    def __init__(
        self,
        config: BrokerConfig,
        *,
        ephemeral: bool = False,
        clock: Clock | None = None,
        disk: Disk | None = None,
        database: Database | None = None,
        connector: Connector | None = None,
        users: Mapping[str, str] | None = None,
        telemetry: Receiver | None = None,
    ) -> None:
        """`database` is one that several brokers of this process share; `connector` opens connections to the others.

        `telemetry` is handed what clients push of their own metrics: without it they aren't asked, unless
        `metric.reporters` says so.
        """
        self.config = LiveConfig(config)
        self.database = database
        self._connector = connector or connector_for(self.config)
        self._scope = trio.CancelScope()
        self._killed = False
        self._ephemeral = ephemeral
        self._telemetry = telemetry
        self._clock = clock or SystemClock()
        self.users = dict(users or {})
        self._disk = disk or _threads(self.config)
        self._stop = trio.Event()
        self._jobs: Jobs | None = None
        self._metadata: MetadataCache | None = None
        self._lost: str | None = None
        self.directories: Sequence[str] = ()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Has `serve` drain, flush and return; to be called in the loop's own thread."""
        self._stop.set()

    def kill(self) -> None:
        """Has `serve` end at once, with no part of a clean end: what kill -9 does to a process."""
        self._killed = True
        self._scope.cancel()

    def known_brokers(self) -> set[int]:
        """The live brokers that this one has heard of; none before it serves."""
        return set() if self._metadata is None else set(self._metadata.image.brokers)

    async def run_retention(self) -> None:
        """Looks at retention now instead of at `log.retention.check.interval.ms`; what goes without delay is gone."""
        if self._jobs is not None:
            await self._jobs.run_retention()

    async def run_compaction(self) -> None:
        """Compacts now, instead of after `log.cleaner.backoff.ms`, what is due."""
        if self._jobs is not None:
            await self._jobs.clean()

    def _storage_lost(self, reason: str) -> None:
        self._lost = reason
        self._stop.set()

    def abandon(self) -> None:
        """What is left to do before the process ends at once: an ephemeral broker's folder still has to go."""
        log.warning("stopped at once by a second signal")
        if self._ephemeral:
            for directory in self.directories:
                shutil.rmtree(directory, ignore_errors=True)

    async def serve(
        self,
        on_ready: Callable[[Ready], None] = lambda ready: None,
        *,
        task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Runs the broker. Calls `on_ready`, and starts as a task, when it serves. Raises StartupError, StorageLost."""
        with _directories(self.config, self._ephemeral) as directories, _bound(self.config) as server:
            self.directories = directories
            async with _Storage(self, directories, self._disk, self._clock, self._ephemeral) as storage:
                _bind(server, self.config)  # What was set while the broker ran is known by now.
                with self._scope:
                    await self._serve(server, storage, on_ready, task_status)
                storage.killed = self._killed
        if self._lost is not None:
            raise StorageLost(self._lost)

    async def _serve(
        self,
        server: SocketServer,
        storage: _Storage,
        on_ready: Callable[[Ready], None],
        task_status: trio.TaskStatus[Ready],
    ) -> None:
        config = self.config
        self._metadata = storage.metadata
        parts = Parts(config, self._clock, self._disk, storage, self._connector, self._telemetry)
        storage.replicas = replicas = parts.replicas
        replicas.on_storage_lost = self._storage_lost
        storage.configs.start(replicas)
        server.limits.ip_delay = parts.quotas.connected
        async with parts.channels, trio.open_nursery() as jobs:
            self._jobs = parts.jobs
            jobs.start_soon(self._jobs.run)
            async with trio.open_nursery() as coordinators:
                for run in (
                    storage.credentials.run,
                    *([storage.authorizer.run] if storage.authorizer is not None else []),
                    parts.groups.run,
                    parts.shares.run,
                    parts.share_groups.run,
                    parts.share_partitions.run,
                    parts.fetchers.run,
                    parts.transactions.run,
                    storage.controller.run,
                ):
                    await coordinators.start(run)
                coordinators.start_soon(parts.log_dir_events.run)
                coordinators.start_soon(storage.configs.run)
                async with trio.open_nursery() as connections:
                    await connections.start(
                        server.serve,
                        Dispatcher(parts.services, parts.served),
                        storage.security.take,
                    )
                    await _join(storage.controller, replicas, _image(config, server.ports()), parts.channels)
                    _follow_listeners(config, server, storage)
                    ready = Ready(
                        _reachable(config),
                        server.port,
                        config.node_id,
                        storage.metadata.image.cluster_id,
                        storage.directories[0],
                    )
                    task_status.started(ready)
                    on_ready(ready)
                    await self._stop.wait()
                    await storage.controller.leave()
                    self._jobs.stop()
                    parts.close()
                    await server.drain(DRAIN_SECONDS)
                    connections.cancel_scope.cancel()
                coordinators.cancel_scope.cancel()
            jobs.cancel_scope.cancel()


async def _join(
    controller: ControllerRuntime, replicas: ReplicaManager, broker: BrokerImage, channels: BrokerChannels
) -> None:
    """Registers, and waits until the controller has said what there is to lead; the listeners are open by now.

    Raises StartupError where another broker is in the way.
    """
    replicas.isr_changes.store = controller.isr_store
    try:
        await controller.start(replicas, broker, channels)
    except StoreError as error:
        raise StartupError(str(error)) from error
    if not await controller.wait_until_joined(JOIN_SECONDS):
        log.warning("no controller has told this broker about the cluster yet")


class _Storage:
    """Metadata and logs, from lock to clean end: what is outermost in a broker's life."""

    def __init__(self, broker: Broker, directories: Sequence[str], disk: Disk, clock: Clock, ephemeral: bool) -> None:
        self._config = config = broker.config
        self._database = broker.database
        self._users = broker.users
        self.killed = False
        self.directories = directories
        self._disk = disk
        self._ephemeral = ephemeral
        self.replicas: ReplicaManager | None = None
        self.metadata = MetadataCache(config)
        self.metadata.clustered = bool(config.zookeeper_connect) or broker.database is not None
        self.logs = LogManager(directories, LogConfig.resolve(config, {}), clock=clock.now_ms)
        self._cordon(frozenset())
        config.subscribe(self._cordon)
        self._clock = clock

    def _cordon(self, changed: frozenset[str]) -> None:
        self.logs.cordoned = self._config.cordoned_log_dirs

    async def __aenter__(self) -> _Storage:
        store: MetadataStore | None = None
        try:
            self.logs.lock()
            known = self.logs.identity()
            if known is not None and known.broker_id not in (None, self._config.node_id):
                raise StartupError(
                    f"the data directory {self.directories[0]} belongs to node {known.broker_id}, "
                    f"not {self._config.node_id}: start with --node-id {known.broker_id}"
                )
            self.store = store = await self._open_store()
            self.configs = DynamicConfigManager(self._config, EntityConfigs(store, self._clock), self.metadata)
            await self.configs.load()
            self.authorizer = authorizer_for(self._config, self.store)
            self.credentials = Credentials(
                self.store,
                self.configs.entities,
                self._clock,
                users=self._users,
                token_key=self._config.delegation_token_secret_key,
                check_seconds=self._config.delegation_token_expiry_check_interval_ms / 1000,
            )
            self.security = Securities(self._config, self.credentials, self._clock)
            self.controller = ControllerRuntime(self._config, self.store, self.metadata, self._clock)
            cluster_id = await self._load(None if known is None else known.cluster_id)
            self.logs.write_identity(self._config.node_id, cluster_id)
            await self._disk.run(self.logs.open, self.metadata.log_config)
            self._leave_offline()
        except (DataDirectoryError, StoreError, ConfigError) as error:
            await self._give_up(store)
            raise StartupError(str(error)) from error
        except BaseException:
            await self._give_up(store)
            raise
        found = {one.topic_partition: one.topic_id for one in self.logs}
        for stray in self.controller.strays(found):
            log.warning("%s belongs to no topic: its directory is set aside", stray)
            self.logs.set_aside(stray)
        return self

    async def _give_up(self, store: MetadataStore | None) -> None:
        with trio.CancelScope(shield=True):
            if store is not None:
                await store.close()
            self.logs.unlock()

    async def _open_store(self) -> MetadataStore:
        """ZooKeeper where one is named, else a file in the data directory (or what the caller's brokers share)."""
        config = self._config
        if config.zookeeper_connect:
            from pykbroker.metadata.zookeeper import ZooKeeperStore

            session_ms = config.zookeeper_session_timeout_ms
            return await ZooKeeperStore.connect(
                config.zookeeper_connect,
                session_timeout=session_ms / 1000,
                connection_timeout=(config.zookeeper_connection_timeout_ms or session_ms) / 1000,
                max_in_flight=config.zookeeper_max_in_flight_requests,
            )
        if self._database is None:
            path = None if self._ephemeral else Path(self.directories[0], FILE_NAME)
            self._database = await self._disk.run(Database, path)
        return EmbeddedStore(self._database, self._disk)

    async def _load(self, known: str | None) -> str:
        """Reads the store. Data of another cluster, as after a wrong address, is not served."""
        cluster_id = await self.controller.load(None if self._config.zookeeper_connect else known)
        if known not in (None, cluster_id):
            raise StartupError(
                f"the data directory {self.directories[0]} belongs to cluster {known}, and the metadata store is "
                f"that of cluster {cluster_id}: give the right zookeeper.connect or another data directory"
            )
        return cluster_id

    def _leave_offline(self) -> None:
        """A directory that can't be loaded is left out; without any other the broker doesn't start."""
        for directory in self.logs.take_failures():
            reason = directory.error.strerror or directory.error
            if self.logs.all_offline:
                raise StartupError(f"the data directory {directory.path} can't be read: {reason}")
            log.error("the data directory %s is offline: %s", directory.path, reason)

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            try:
                await self.store.close()
            finally:
                if self.killed:
                    self.logs.abandon()
                else:
                    watermarks = None if self.replicas is None else self.replicas.high_watermarks()
                    await self._disk.run(self._close, watermarks)

    def _close(self, watermarks: dict[TopicPartition, int] | None) -> None:
        for directory, error in self.logs.close(watermarks, sync=not self._ephemeral).items():
            log.error("%s is not closed cleanly, its logs are checked at the next start: %s", directory, error)


def _threads(config: LiveConfig) -> ThreadedDisk:
    """Threads for the disk, as many as `background.threads` says at the time."""
    disk = ThreadedDisk(config.background_threads)
    config.subscribe(lambda changed: disk.resize(config.background_threads))
    return disk


@contextmanager
def _directories(config: BrokerConfig, ephemeral: bool) -> Iterator[list[str]]:
    """The data directories; an ephemeral broker's is made now and removed at the end."""
    if not ephemeral:
        yield list(config.log_directories)
        return
    import tempfile

    folder = tempfile.mkdtemp(prefix="pykbroker-")
    try:
        yield [folder]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _bound(config: BrokerConfig) -> Iterator[SocketServer]:
    """The listeners' ports, taken before anything is loaded: one in use is known at once."""
    server = SocketServer(config)
    try:
        _bind(server, config)
        yield server
    finally:
        server.close()


def _bind(server: SocketServer, config: BrokerConfig) -> None:
    try:
        server.bind(config.broker_listeners)
    except OSError as error:
        raise StartupError(_in_the_way(config, error)) from error


def _in_the_way(config: BrokerConfig, error: OSError) -> str:
    where = ",".join(f"{one.host}:{one.port}" for one in config.broker_listeners)
    reason = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return f"can't listen on {where}: {reason}"


def _follow_listeners(config: LiveConfig, server: SocketServer, storage: _Storage) -> None:
    """Has listeners and certificates that are changed while the broker runs tried first, and told of afterwards."""

    def check(after: BrokerConfig) -> None:
        try:
            server.check(after.broker_listeners)
        except OSError as error:
            raise NotDynamic(_in_the_way(after, error)) from error
        for one in touched(config, after):
            storage.security.make(one, after)

    def changed(names: frozenset[str]) -> None:
        if names & ADDRESSES:
            storage.controller.move(_image(config, server.ports()))

    storage.configs.check_broker = check
    config.subscribe(changed)


def _image(config: BrokerConfig, ports: dict[str, int]) -> BrokerImage:
    """This broker as it registers: advertised addresses, else its own with the ports that were bound."""
    endpoints = {
        one.name: Endpoint(one.host or "localhost", one.port or ports[one.name], one.security_protocol)
        for one in config.advertised or config.broker_listeners
        if one.name in ports
    }
    return BrokerImage(config.node_id, endpoints, config.broker_rack)


def _reachable(config: BrokerConfig) -> str:
    """The host for the ready line: where the first listener takes every address, this machine's own."""
    return config.broker_listeners[0].host or "localhost"


def first_error(error: BaseExceptionGroup[E]) -> E:
    """The first of a group, for callers who start a broker in a nursery: it is one line for a person."""
    found = error.exceptions[0]
    return first_error(found) if isinstance(found, BaseExceptionGroup) else found


async def serve(
    config: BrokerConfig,
    *,
    ephemeral: bool = False,
    users: Mapping[str, str] | None = None,
    on_ready: Callable[[str, int, int, str], None],
) -> None:
    """Runs a broker as a process does: SIGTERM, SIGINT or SIGHUP drains it, a second one ends it at once.

    Calls `on_ready(host, port, node_id, cluster_id)` when it serves. Raises StartupError, alone or in a group.
    """
    broker = Broker(config, ephemeral=ephemeral, users=users)

    def ready(it: Ready) -> None:
        _calm_garbage_collector()
        on_ready(*it[:4])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_signals, broker)
        await broker.serve(ready)
        nursery.cancel_scope.cancel()


def _calm_garbage_collector() -> None:
    """In a process of its own: what start-up made is never garbage, and a request leaves next to no cycles behind.

    At Python's own thresholds a sixth of the CPU time of a thousand idle consumers went into looking for some.
    """
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)


async def _watch_signals(broker: Broker) -> None:
    with trio.open_signal_receiver(*stopping_signals()) as signals:
        async for number in signals:
            if broker.stopping:
                broker.abandon()
                os._exit(128 + number)
            log.info("stopping")
            broker.stop()
