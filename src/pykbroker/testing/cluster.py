"""Several brokers in one process, for tests of what only a cluster does: replication over loopback, failover, faults.

The brokers share a metadata store in memory, elect a controller among them and replicate as processes would. A killed
broker's session ends at once, so that nobody waits for a timeout.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from pykbroker.broker import Broker, Ready, StartupError, first_error
from pykbroker.cluster.image import Endpoint, PartitionState
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.listeners import endpoint_text
from pykbroker.config.properties import as_texts
from pykbroker.metadata import znodes
from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.server.broker_channel import Connector
from pykbroker.server.disk import ThreadedDisk
from pykbroker.server.inter_broker import connector_for
from pykbroker.testing.broker import STOP_SECONDS, bare_nursery, checked, on_port

T = TypeVar("T")

log = logging.getLogger(__name__)

UP_SECONDS = 30.0
LOOK_AGAIN_S = 0.005


class _Links:
    """The connections between brokers, to be cut."""

    def __init__(self) -> None:
        self._cut: set[frozenset[int]] = set()
        self._open: dict[frozenset[int], list[trio.abc.Stream]] = {}

    def connector(self, source: int, config: BrokerConfig) -> Connector:
        """Opens one broker's connections to others, where the link isn't cut."""
        connect = connector_for(config)

        async def open_stream(target: int, endpoint: Endpoint) -> trio.abc.Stream:
            link = frozenset((source, target))
            if link in self._cut:
                raise ConnectionRefusedError(f"the link between broker {source} and broker {target} is cut")
            stream = await connect(target, endpoint)
            if link in self._cut:
                await trio.aclose_forcefully(stream)
                raise ConnectionRefusedError(f"the link between broker {source} and broker {target} is cut")
            self._open.setdefault(link, []).append(stream)
            return stream

        return open_stream

    async def cut(self, one: int, other: int) -> None:
        """Ends all connections of a link, and lets none be made."""
        link = frozenset((one, other))
        self._cut.add(link)
        for stream in self._open.pop(link, ()):
            await trio.aclose_forcefully(stream)

    def heal(self) -> None:
        """Every link may be used again."""
        self._cut.clear()


class _Member:
    """One broker of the cluster: its config, and itself while it runs."""

    def __init__(self, config: BrokerConfig) -> None:
        self.config = config
        self.broker: Broker | None = None
        self.ready: Ready | None = None
        self.ended = trio.Event()


class AsyncKafkaCluster:
    """A cluster in the caller's own trio loop, as `open_kafka_cluster` yields it. Brokers are numbered from 1."""

    def __init__(self, nursery: trio.Nursery, folder: str, brokers: int, config: Mapping[str, Any] | None) -> None:
        self._nursery = nursery
        self._links = _Links()
        self._database = Database(None, durable=False)
        self._store = EmbeddedStore(self._database, ThreadedDisk(1))
        properties = {
            "default.replication.factor": str(min(3, brokers)),
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.num.partitions": "5",
            "share.coordinator.state.topic.num.partitions": "5",
            **as_texts(config or {}),
        }
        self._members: dict[int, _Member] = {}
        for node_id in range(1, brokers + 1):
            own = {
                "listeners": "PLAINTEXT://127.0.0.1:0",
                **properties,
                "node.id": str(node_id),
                "log.dirs": str(Path(folder, f"broker-{node_id}")),
            }
            made = BrokerConfig.from_properties(own)
            self._members[node_id] = _Member(checked(made) if node_id == 1 else made)

    # ---- brokers ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts all brokers; returns when each of them serves and knows the others. Raises StartupError."""
        async with trio.open_nursery() as nursery:
            for node_id in self._members:
                nursery.start_soon(self._start, node_id)
        await self._until_known()

    async def kill(self, broker: int) -> None:
        """Ends a broker as kill -9 does; its session ends at once, so that others take over."""
        member = self._running(broker)
        assert member.broker is not None
        member.broker.kill()
        await member.ended.wait()

    async def stop(self, broker: int) -> None:
        """Stops a broker as SIGTERM does: it hands its leadership over first."""
        member = self._running(broker)
        assert member.broker is not None
        member.broker.stop()
        await member.ended.wait()

    async def restart(self, broker: int) -> None:
        """Starts a broker again, with its data and on its port; one that runs is stopped before."""
        if self._member(broker).broker is not None:
            await self.stop(broker)
        await self._start(broker)
        await self._until_known()

    async def cut(self, one: int, other: int) -> None:
        """Cuts the link between two brokers: nothing passes in either direction. Clients reach both."""
        self._member(one), self._member(other)
        await self._links.cut(one, other)

    async def heal(self) -> None:
        """Mends all links."""
        self._links.heal()

    async def aclose(self) -> None:
        """Stops every broker."""
        for member in self._members.values():
            if member.broker is not None:
                member.broker.kill()
        for member in self._members.values():
            if member.broker is not None:
                await member.ended.wait()
        await self._store.close()

    async def _start(self, node_id: int) -> None:
        member = self._members[node_id]
        member.ended = trio.Event()
        member.broker = Broker(
            member.config, database=self._database, connector=self._links.connector(node_id, member.config)
        )
        try:
            member.ready = await self._nursery.start(self._serve, member)
        except BaseException:
            member.broker = None
            raise
        member.config = on_port(member.config, member.ready.port)

    async def _serve(self, member: _Member, task_status: trio.TaskStatus[Ready]) -> None:
        assert member.broker is not None
        try:
            await member.broker.serve(task_status=task_status)
        finally:
            member.broker = None
            member.ended.set()

    async def _until_known(self) -> None:
        """Waits until every running broker has heard of every other, so that topics can be placed on all of them."""
        running = set(self.brokers)
        with trio.move_on_after(UP_SECONDS):
            while True:
                others = [member.broker for member in self._members.values() if member.broker is not None]
                if all(running <= broker.known_brokers() for broker in others):
                    return
                await trio.sleep(LOOK_AGAIN_S)

    def _member(self, broker: int) -> _Member:
        member = self._members.get(broker)
        if member is None:
            raise ValueError(f"there is no broker {broker}, only {', '.join(map(str, self._members))}")
        return member

    def _running(self, broker: int) -> _Member:
        member = self._member(broker)
        if member.broker is None:
            raise ValueError(f"broker {broker} isn't running")
        return member

    # ---- what it is ------------------------------------------------------------------------------------------------

    @property
    def brokers(self) -> list[int]:
        """The brokers that run."""
        return [node_id for node_id, member in self._members.items() if member.broker is not None]

    @property
    def bootstrap_servers(self) -> str:
        """All brokers' addresses, as clients take them."""
        return ",".join(self.address(node_id) for node_id in self._members)

    def address(self, broker: int) -> str:
        """One broker's `HOST:PORT`."""
        ready = self._member(broker).ready
        if ready is None:
            raise StartupError(f"broker {broker} has not been started")
        return endpoint_text(ready.host, ready.port)

    async def partition(self, topic: str, partition: int = 0) -> PartitionState:
        """A partition's leader, epochs and ISR as the metadata store has them. Raises KeyError for one that isn't."""
        node = await self._store.find(znodes.topic_path(topic))
        state = await self._store.find(znodes.state_path(topic, partition))
        if node is None or state is None:
            raise KeyError(f"{topic}-{partition}")
        replicas = znodes.decode_topic(node.data).replicas[partition]
        return znodes.decode_state(state.data, state.stat.version, replicas)

    async def controller(self) -> int:
        """The broker that is controller; -1 while none is."""
        node = await self._store.find(znodes.CONTROLLER)
        return -1 if node is None else znodes.decode_controller(node.data)


@asynccontextmanager
async def open_kafka_cluster(
    *, brokers: int = 3, config: Mapping[str, Any] | None = None
) -> AsyncIterator[AsyncKafkaCluster]:
    """A cluster for trio programs: `async with open_kafka_cluster() as cluster: …`. Raises StartupError."""
    folder = tempfile.mkdtemp(prefix="pykbroker-")
    try:
        async with bare_nursery() as nursery:
            cluster = AsyncKafkaCluster(nursery, folder, brokers, config)
            try:
                await cluster.start()
                yield cluster
            finally:
                with trio.CancelScope(shield=True):
                    await cluster.aclose()
    except* StartupError as failed:
        raise first_error(failed) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class KafkaCluster:
    """A cluster in a thread: `with KafkaCluster(brokers=3) as cluster: Producer(bootstrap.servers=…)`.

    `config` holds Kafka's own keys, for every broker. New topics have `default.replication.factor` 3, or as many
    replicas as there are brokers; everything else has its usual default. Raises StartupError.
    """

    def __init__(self, brokers: int = 3, *, config: Mapping[str, Any] | None = None) -> None:
        self._count = brokers
        self._config = config
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._cluster: AsyncKafkaCluster | None = None
        self._done: trio.Event | None = None
        self._failure: BaseException | None = None

    def start(self) -> Self:
        """Returns when every broker serves."""
        if self._thread is not None and self._thread.is_alive():
            raise StartupError("the cluster runs already")
        started = threading.Event()
        self._failure = None
        self._thread = threading.Thread(target=self._run, args=(started,), name="pykbroker-cluster", daemon=True)
        self._thread.start()
        started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def close(self) -> None:
        """Ends all brokers; their data is gone."""
        if self._thread is None:
            return
        if self._token is not None and self._done is not None:
            try:
                self._token.run_sync_soon(self._done.set)
            except trio.RunFinishedError:
                pass  # It has ended by itself; why is raised below.
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError(f"the cluster did not stop within {STOP_SECONDS:.0f} s")
        self._thread = None
        if self._failure is not None:
            raise self._failure

    def _run(self, started: threading.Event) -> None:
        async def main() -> None:
            self._token, self._done = trio.lowlevel.current_trio_token(), trio.Event()
            async with open_kafka_cluster(brokers=self._count, config=self._config) as cluster:
                self._cluster = cluster
                started.set()
                await self._done.wait()

        try:
            trio.run(main)
        except BaseException as error:  # The caller's, to be raised in the caller's thread.
            self._failure = error
        finally:
            started.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "not started" if self._cluster is None else self.bootstrap_servers
        return f"<{type(self).__name__} {where}>"

    # ---- faults ----------------------------------------------------------------------------------------------------

    def kill(self, broker: int) -> None:
        """Ends a broker as kill -9 does; its session ends at once, so that others take over."""
        self._in_loop(self._running.kill, broker)

    def stop(self, broker: int) -> None:
        """Stops a broker as SIGTERM does: it hands its leadership over first."""
        self._in_loop(self._running.stop, broker)

    def restart(self, broker: int) -> None:
        """Starts a broker again, with its data and on its port; one that runs is stopped before."""
        self._in_loop(self._running.restart, broker)

    def cut(self, one: int, other: int) -> None:
        """Cuts the link between two brokers: nothing passes in either direction. Clients reach both."""
        self._in_loop(self._running.cut, one, other)

    def heal(self) -> None:
        """Mends all links."""
        self._in_loop(self._running.heal)

    # ---- what it is ------------------------------------------------------------------------------------------------

    @property
    def _running(self) -> AsyncKafkaCluster:
        if self._cluster is None:
            raise StartupError("the cluster has not been started")
        return self._cluster

    def _in_loop(self, call: Callable[..., Awaitable[T]], *args: Any) -> T:
        try:
            return trio.from_thread.run(call, *args, trio_token=self._token)
        except trio.RunFinishedError:
            raise StartupError("the cluster has been closed") from None

    @property
    def bootstrap_servers(self) -> str:
        """All brokers' addresses, as clients take them."""
        return self._running.bootstrap_servers

    @property
    def brokers(self) -> Sequence[int]:
        """The brokers that run."""
        return self._running.brokers

    def address(self, broker: int) -> str:
        """One broker's `HOST:PORT`."""
        return self._running.address(broker)

    def leader(self, topic: str, partition: int = 0) -> int:
        """The broker that leads a partition; -1 while none does. Raises KeyError for one that isn't there."""
        return self._in_loop(self._running.partition, topic, partition).leader

    def isr(self, topic: str, partition: int = 0) -> set[int]:
        """The in-sync replicas of a partition. Raises KeyError for one that isn't there."""
        return set(self._in_loop(self._running.partition, topic, partition).isr)

    @property
    def controller(self) -> int:
        """The broker that is controller; -1 while none is."""
        return self._in_loop(self._running.controller)
