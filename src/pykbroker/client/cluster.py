"""A cluster as a client sees it: which broker is asked what, connections to them, and what is tried again.

Requests go to any broker, to one of them, to the controller, a coordinator, or the leaders of partitions. What Kafka
calls retriable is tried again, with fresh metadata, until the time is up. It interprets no answer beyond its
error codes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import trio

from pykbroker.client.connection import Connection, Versioned, open_connection
from pykbroker.client.errors import ClientError, ClosedAtOnce, ConnectionLost, TimedOut, Unreachable
from pykbroker.client.nursery import open_nursery
from pykbroker.client.settings import ClientSettings
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.message import Message, Struct
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.metadata import MetadataRequest, MetadataResponse
from pykbroker.protocol.topic_partition import TopicPartition

Request = Message | Versioned
Partitions = Collection[TopicPartition]

GROUP = 0
TRANSACTION = 1
"""What a coordinator coordinates, as FindCoordinator has it."""

FIRST_BACKOFF = 0.05
MAX_BACKOFF = 1.0

_CONTROLLER_MOVED = frozenset({ErrorCode.NOT_CONTROLLER})
COORDINATOR_MOVED = frozenset(
    {ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS}
)
_LEADER_MOVED = frozenset(
    {
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REPLICA_NOT_AVAILABLE,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.OFFSET_NOT_AVAILABLE,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.BROKER_NOT_AVAILABLE,
    }
)


class Cluster:
    """A client of one cluster: `async with Cluster(settings) as cluster: await cluster.any(MetadataRequest(…))`."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self.brokers: dict[int, tuple[str, int]] = {}
        self.racks: dict[int, str | None] = {}
        self.controller_id = -1
        self.cluster_id: str | None = None
        self._connections: dict[tuple[int, str], Connection] = {}
        self._opening: defaultdict[tuple[int, str], trio.Lock] = defaultdict(trio.Lock)
        self._bootstrap: Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):
            for connection in [*self._connections.values(), *filter(None, (self._bootstrap,))]:
                await connection.aclose()

    # -- connections -------------------------------------------------------------------------------------------

    async def any_connection(self) -> Connection:
        """A connection to whichever broker answers first. Raises what kept the last address from it."""
        for connection in [*filter(None, (self._bootstrap,)), *self._connections.values()]:
            if not connection.closed:
                return connection
        if self._bootstrap is not None:
            await self._bootstrap.aclose()
        failure: ClientError | None = None
        known = [address for address in self.brokers.values() if address not in self.settings.bootstrap]
        for address in (*self.settings.bootstrap, *known):
            try:
                self._bootstrap = await open_connection(address, self.settings)
            except (Unreachable, ClosedAtOnce) as error:
                failure = failure or error
            else:
                return self._bootstrap
        if len(self.settings.bootstrap) > 1 and isinstance(failure, Unreachable):
            raise Unreachable(self.settings.bootstrap_text, "none of them does")
        assert failure is not None
        raise failure

    async def connection(self, node: int, purpose: str = "") -> Connection:
        """The connection to a broker; those for another purpose are apart, so that a long poll keeps nobody waiting."""
        if not self.brokers:
            await self.metadata([])
        key = (node, purpose)
        async with self._opening[key]:
            found = self._connections.get(key)
            if found is not None and not found.closed:
                return found
            address = self.brokers.get(node)
            if address is None:
                raise KafkaError(ErrorCode.BROKER_NOT_AVAILABLE, f"there is no broker {node}")
            if found is not None:
                await found.aclose()
            if not purpose and self._bootstrap is not None and self._bootstrap.address == address:
                opened, self._bootstrap = self._bootstrap, None
                if not opened.closed:
                    self._connections[key] = opened
                    return opened
                await opened.aclose()
            opened = self._connections[key] = await open_connection(address, self.settings)
            return opened

    # -- whom to ask -------------------------------------------------------------------------------------------

    async def any(
        self, request: Request, *, again: frozenset[ErrorCode] = frozenset(), timeout: float | None = None
    ) -> Any:
        """The answer of whichever broker is connected; asked for again after the errors of `again`."""
        return await self._again(self.any_connection, request, again, timeout)

    async def node(self, node: int, request: Request, *, purpose: str = "", timeout: float | None = None) -> Any:
        """The answer of one broker."""

        async def connect() -> Connection:
            return await self.connection(node, purpose)

        return await self._again(connect, request, frozenset(), timeout)

    async def controller(self, request: Request, timeout: float | None = None) -> Any:
        """The answer of the controller, or of a broker that forwards to it (KIP-590)."""

        async def connect() -> Connection:
            if self.controller_id not in self.brokers:
                await self.metadata([])
            if self.controller_id not in self.brokers:
                raise KafkaError(ErrorCode.NOT_CONTROLLER, "the cluster has no controller at the moment")
            return await self.connection(self.controller_id)

        async def refresh() -> None:
            await self.metadata([])

        return await self._again(connect, request, _CONTROLLER_MOVED, timeout, refresh)

    async def coordinator(
        self, kind: int, key: str, request: Request, *, purpose: str = "", timeout: float | None = None
    ) -> Any:
        """The answer of the coordinator of a group or of a transactional id."""

        async def connect() -> Connection:
            return await self.connection(await self.find_coordinator(kind, key), purpose)

        return await self._again(connect, request, COORDINATOR_MOVED, timeout)

    async def find_coordinator(self, kind: int, key: str) -> int:
        """The broker that coordinates a group or a transactional id; made known where it wasn't."""

        def build(version: int) -> Message:
            if version >= 4:
                return FindCoordinatorRequest(key_type=kind, coordinator_keys=[key])
            return FindCoordinatorRequest(key=key, key_type=kind)

        request = Versioned(ApiKey.FIND_COORDINATOR, build)
        answer = await self._again(self.any_connection, request, COORDINATOR_MOVED)
        found = answer.coordinators[0] if answer.coordinators else answer
        raise_for(found.error_code, found.error_message)
        self.brokers[found.node_id] = (found.host, found.port)
        return int(found.node_id)

    async def to_leaders(
        self,
        partitions: Partitions,
        build: Callable[[Mapping[str, list[int]]], Request],
        read: Callable[[Any], Iterator[tuple[TopicPartition, int, Any]]],
        timeout: float | None = None,
    ) -> dict[TopicPartition, Any]:
        """Asks the leader of each partition; the answer, or a KafkaError, by partition.

        `build` makes the request for topic → indexes; `read` gives partition, error code and answer out of a response.
        """
        done: dict[TopicPartition, Any] = {}
        waiting = set(partitions)
        backoff = Backoff(self.settings.timeout)
        while waiting:
            leaders = await self._leaders(waiting, done)
            waiting -= done.keys()
            if leaders:
                async with open_nursery() as nursery:
                    for node, theirs in leaders.items():
                        nursery.start_soon(self._ask_leader, node, build(by_topic(theirs)), read, done, timeout)
            for one in list(waiting):
                answer = done.get(one)
                if answer is not None and not (isinstance(answer, KafkaError) and answer.code in _LEADER_MOVED):
                    waiting.discard(one)
            if waiting and not await backoff.wait():
                for one in waiting:
                    done.setdefault(one, KafkaError(ErrorCode.LEADER_NOT_AVAILABLE, "the partition has no leader"))
                break
        return done

    async def _ask_leader(
        self,
        node: int,
        request: Request,
        read: Callable[[Any], Iterator[tuple[TopicPartition, int, Any]]],
        done: dict[TopicPartition, Any],
        timeout: float | None,
    ) -> None:
        try:
            response = await self.node(node, request, timeout=timeout)
        except (ConnectionLost, Unreachable):
            return  # Its partitions will have another leader, or none.
        for partition, code, answer in read(response):
            done[partition] = KafkaError(ErrorCode(code), getattr(answer, "error_message", None)) if code else answer

    async def _leaders(
        self, partitions: Partitions, done: dict[TopicPartition, Any]
    ) -> dict[int, list[TopicPartition]]:
        """Partitions by leader; those that don't exist are done, those without a leader are left out."""
        names = sorted({partition.topic for partition in partitions})
        topics = {topic.name: topic for topic in (await self.metadata(names)).topics}
        leaders: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        for one in sorted(partitions):
            topic = topics[one.topic]
            state = next((each for each in topic.partitions if each.partition_index == one.partition), None)
            if topic.error_code and topic.error_code not in _LEADER_MOVED:
                done[one] = KafkaError(ErrorCode(topic.error_code), f"topic {one.topic}")
            elif state is None and not topic.error_code:
                done[one] = KafkaError(
                    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"topic {one.topic} has no partition {one.partition}"
                )
            elif state is not None and state.leader_id in self.brokers:
                leaders[state.leader_id].append(one)
        return leaders

    # -- metadata ----------------------------------------------------------------------------------------------

    async def metadata(
        self, topics: Collection[str] | None = None, *, create: bool = False, operations: bool = False
    ) -> MetadataResponse:
        """Brokers and topics as some broker knows them; all topics for None. Errors are per topic, in the answer."""

        def build(version: int) -> Message:
            asked = None if topics is None and version else [MetadataRequest.Topic(name=name) for name in topics or ()]
            request = MetadataRequest(topics=asked, include_topic_authorized_operations=operations and version >= 8)
            request.allow_auto_topic_creation = create or version < 4
            return request

        answer: MetadataResponse = await self.any(Versioned(ApiKey.METADATA, build))
        if answer.brokers:
            self.brokers = {broker.node_id: (broker.host, broker.port) for broker in answer.brokers}
            self.racks = {broker.node_id: broker.rack for broker in answer.brokers}
        self.controller_id = answer.controller_id
        self.cluster_id = answer.cluster_id
        return answer

    # -- again -------------------------------------------------------------------------------------------------

    async def _again(
        self,
        connect: Callable[[], Awaitable[Connection]],
        request: Request,
        moved: frozenset[ErrorCode],
        timeout: float | None = None,
        refresh: Callable[[], Awaitable[None]] | None = None,
    ) -> Any:
        """The answer, asked for again while its codes say that another broker has to be asked, or a connection broke.

        A lost connection is tried again once at once: the broker may have closed it for idleness.
        """
        backoff = Backoff(self.settings.timeout)
        lost = 0
        while True:
            try:
                answer = await (await connect()).call(request, timeout)
            except ConnectionLost:
                lost += 1
                if lost > 2 or not await backoff.wait():
                    raise
                continue
            if moved.isdisjoint(codes_in(answer)) or not await backoff.wait():
                return answer
            if refresh is not None:
                await refresh()


class Backoff:
    """Waits between tries, longer each time, until the time is up."""

    def __init__(self, timeout: float) -> None:
        self._deadline = trio.current_time() + timeout
        self._pause = FIRST_BACKOFF

    async def wait(self) -> bool:
        """Waits; false where no time is left for another try."""
        if trio.current_time() + self._pause >= self._deadline:
            return False
        await trio.sleep(self._pause)
        self._pause = min(self._pause * 2, MAX_BACKOFF)
        return True


def codes_in(message: Struct) -> Iterator[int]:
    """Every error code in an answer, wherever it stands."""
    for name in message.fields:
        value = getattr(message, name)
        if name.endswith("error_code"):
            yield value
        elif isinstance(value, list) and value and isinstance(value[0], Struct):
            for item in value:
                yield from codes_in(item)


def raise_for(code: int, message: str | None = None) -> None:
    """Raises the KafkaError of an error code; nothing for NONE."""
    if code:
        raise error_of(code, message)


def error_of(code: int, message: str | None = None) -> KafkaError:
    """The KafkaError of an error code that this project may not know."""
    try:
        return KafkaError(ErrorCode(code), message or None)
    except ValueError:
        return KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR, f"error code {code}: {message or 'no message'}")


def by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[int]]:
    """Indexes by topic, both in order."""
    found: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        found.setdefault(topic, []).append(partition)
    return found


__all__ = [
    "COORDINATOR_MOVED",
    "GROUP",
    "TRANSACTION",
    "Backoff",
    "Cluster",
    "Request",
    "TimedOut",
    "by_topic",
    "codes_in",
    "error_of",
    "raise_for",
]
