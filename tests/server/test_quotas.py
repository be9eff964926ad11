"""Quotas enforced: what is counted, what is answered, how long a connection is muted."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pykbroker.cluster.client_quota import DEFAULT, Entity
from pykbroker.config.broker import BrokerConfig
from pykbroker.metadata import znodes
from pykbroker.metadata.embedded import Database, EmbeddedStore
from pykbroker.network.dispatch import Dispatcher, Peer
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.connection import decode_response, encode_request
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.fetch import FetchResponse
from pykbroker.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from pykbroker.protocol.messages.produce import ProduceResponse
from pykbroker.security.principal import ANONYMOUS
from pykbroker.server.disk import InlineDisk
from pykbroker.server.entity_configs import EntityConfigs
from pykbroker.server.purgatory import Purgatory
from pykbroker.server.quotas import MEASURED_BEFORE_PURGE, ClientQuotas, entity_of, path_of
from pykbroker.server.request import RequestContext, handles


class Clock:
    """Trio's own time."""

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return trio.current_time()


class Broker:
    def __init__(self) -> None:
        self.store = EmbeddedStore(Database(None), InlineDisk())
        self.entities = EntityConfigs(self.store, Clock())
        self.purgatory = Purgatory()
        self.quotas = ClientQuotas(BrokerConfig(), self.entities, Clock(), self.purgatory)

    async def set(self, entity: Entity, **quotas: str) -> None:
        await self.store.ensure_path(znodes.CONFIG_CHANGES)
        await self.entities.change(path_of(entity), lambda current: quotas)


def context(key: int = ApiKey.LIST_GROUPS, client_id: str = "c", version: int = 4) -> RequestContext:
    services: Any = None
    return RequestContext(services, key, version, 1, client_id, "/127.0.0.1", "PLAINTEXT", ("127.0.0.1", 1))


async def metered(broker: Broker, response: Any, key: int, size: int = 0, client_id: str = "c") -> int:
    async def answer() -> Any:
        await trio.lowlevel.checkpoint()
        return response

    _, throttle_ms = await broker.quotas.metered(answer, None, context(key, client_id), size)
    return throttle_ms


async def test_it_is_active_while_somebody_has_a_quota() -> None:
    broker = Broker()
    assert not broker.quotas.active
    await broker.set(Entity(DEFAULT), producer_byte_rate="100")
    assert broker.quotas.active
    await broker.set(Entity(DEFAULT))
    assert not broker.quotas.active


async def test_produced_bytes(autojump_clock: MockClock) -> None:
    broker = Broker()
    await broker.set(Entity(None, "c"), producer_byte_rate="100")
    answers = [ProduceResponse() for _ in range(3)]
    throttled = [await metered(broker, answer, ApiKey.PRODUCE, 600) for answer in answers]
    assert throttled == [0, 2000, 8000]
    assert [answer.throttle_time_ms for answer in answers] == throttled
    assert await metered(broker, None, ApiKey.PRODUCE, 600) == 14000, "acks=0 is muted without an answer"
    assert await metered(broker, ProduceResponse(), ApiKey.PRODUCE, 600, "d") == 0


async def test_fetched_bytes_that_are_not_sent_do_not_count(autojump_clock: MockClock) -> None:
    broker = Broker()
    await broker.set(Entity(ANONYMOUS.name), consumer_byte_rate="100")
    asked = context(ApiKey.FETCH)
    assert broker.quotas.fetch_limit(asked) == 1000
    assert [broker.quotas.fetched(asked, 600) for _ in range(3)] == [0, 2000, 2000]
    assert broker.quotas.fetched(asked, 400) == 0
    response = FetchResponse(throttle_time_ms=7)
    assert await metered(broker, response, ApiKey.FETCH) == 7, "its handler has counted"
    assert response.throttle_time_ms == 7


async def test_without_a_quota_a_fetch_has_no_limit() -> None:
    broker = Broker()
    assert broker.quotas.fetch_limit(context()) == 2147483647
    await broker.set(Entity(DEFAULT), producer_byte_rate="1")
    assert broker.quotas.fetch_limit(context()) == 2147483647


async def test_request_time_is_bounded_by_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    await broker.set(Entity(DEFAULT), request_percentage="0.001")
    response = ListGroupsResponse()
    monkeypatch.setattr("pykbroker.server.request_time.RequestTimes.spent_ns", lambda self: 1_000_000_000)
    assert await metered(broker, response, ApiKey.LIST_GROUPS) == 1000
    assert response.throttle_time_ms == 1000
    assert await metered(broker, response, ApiKey.UPDATE_METADATA) == 1000, "told before"
    assert await metered(broker, ListGroupsResponse(), ApiKey.UPDATE_METADATA) == 0, "brokers are exempt"


async def test_newer_clients_are_refused_partitions_over_their_quota(autojump_clock: MockClock) -> None:
    broker = Broker()
    await broker.set(Entity(DEFAULT), controller_mutation_rate="1.0")
    for _ in range(2):
        mutations = broker.quotas.mutations(context(version=6), strict_since=6)
        mutations.charge(14)
        with pytest.raises(KafkaError) as caught:
            mutations.charge(1)
        assert caught.value.code is ErrorCode.THROTTLING_QUOTA_EXCEEDED
        assert mutations.throttle_ms == 3000
        await trio.sleep(14)


async def test_older_clients_are_muted_for_partitions_over_their_quota() -> None:
    broker = Broker()
    free = broker.quotas.mutations(context(), strict_since=9)
    assert not free.limited
    free.charge(1_000_000)
    await broker.set(Entity(DEFAULT), controller_mutation_rate="1.0")
    mutations = broker.quotas.mutations(context(), strict_since=9)
    mutations.charge(14)
    assert (mutations.limited, mutations.throttle_ms) == (True, 3000)


async def test_connections_of_an_address(autojump_clock: MockClock) -> None:
    broker = Broker()
    assert broker.quotas.connected("127.0.0.1") == 0
    await broker.set(Entity(ip=DEFAULT), connection_creation_rate="1")
    await broker.set(Entity(ip="127.0.0.2"), connection_creation_rate="2")
    assert [broker.quotas.connected("127.0.0.1") for _ in range(12)] == [0.0] * 10 + [1.0] * 2
    assert [broker.quotas.connected("127.0.0.2") for _ in range(21)] == [0.0] * 20 + [0.5]
    await trio.sleep(11)
    assert broker.quotas.connected("127.0.0.1") == 0
    await broker.set(Entity(ip=DEFAULT))
    assert broker.quotas.connected("127.0.0.1") == 0


async def test_invented_client_ids_take_no_memory_for_long(autojump_clock: MockClock) -> None:
    broker = Broker()
    await broker.set(Entity(None, DEFAULT), producer_byte_rate="100")
    for number in range(MEASURED_BEFORE_PURGE):
        await metered(broker, ProduceResponse(), ApiKey.PRODUCE, 1, f"client-{number}")
    await trio.sleep(11)
    await metered(broker, ProduceResponse(), ApiKey.PRODUCE, 1, "one more")
    assert len(broker.quotas._rates) == 1


@pytest.mark.parametrize(
    "entity",
    [
        Entity("a/b", DEFAULT),
        Entity(DEFAULT),
        Entity(None, "c"),
        Entity(ip="::1"),
        Entity(ip=DEFAULT),
        Entity("u", "c"),
    ],
)
def test_where_an_entity_stands(entity: Entity) -> None:
    assert entity_of(path_of(entity)) == entity


async def test_the_answer_first_then_the_mute(autojump_clock: MockClock) -> None:
    broker = Broker()
    await broker.set(Entity(DEFAULT), producer_byte_rate="1")

    @handles(ListGroupsRequest, "0-4")
    async def handler(request: ListGroupsRequest, context: RequestContext) -> ListGroupsResponse:
        await trio.lowlevel.checkpoint()
        return ListGroupsResponse(throttle_time_ms=5000)

    services: Any = SimpleNamespace(quotas=broker.quotas, authorizer=None)
    dispatcher = Dispatcher(services, {ListGroupsRequest.key: handler})
    peer = Peer(("127.0.0.1", 1), ("127.0.0.1", 2), "PLAINTEXT", 1)
    frame = b"".join(bytes(piece) for piece in encode_request(ListGroupsRequest(), 4, 7, "c"))[4:]

    async def ask() -> float:
        start = trio.current_time()
        pieces = await dispatcher.answer(memoryview(bytearray(frame)), peer)
        assert pieces is not None
        data = memoryview(b"".join(bytes(piece) for piece in pieces))  # type: ignore[arg-type]
        assert decode_response(data[4:], ListGroupsRequest.key, 4)[1].throttle_time_ms == 5000
        return trio.current_time() - start

    assert [await ask() for _ in range(2)] == [0, 5]
    broker.purgatory.close()
    assert await ask() == 0, "a broker that stops waits for nobody"
