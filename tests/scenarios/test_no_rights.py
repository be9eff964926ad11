"""Every API that is served, asked over the wire by a user without rights: refused with Kafka's code, the same whether
what it names is there or not, and nothing is read or changed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.security import login
from tests.security.refusals import EVERYBODY, FILTERED, IDS_SINCE, SILENT, expected
from tests.security.requests import NAME, TOPIC_ID, codes, sample

from pykbroker.apis import HANDLERS
from pykbroker.broker import Broker
from pykbroker.metadata.embedded import Database
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.messages import message_classes
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.offset_commit import OffsetCommitRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

pytestmark = pytest.mark.slow

ABSENT = "absent"
"""As long as the name of what is there, so that one frame becomes the other."""
LEFT_OUT = frozenset(
    (
        *(ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE),
        *(ApiKey.GET_TELEMETRY_SUBSCRIPTIONS, ApiKey.PUSH_TELEMETRY),
    )
)
"""On a connection in use a handshake begins another authentication, whose failure ends it; telemetry is for everybody,
and served where somebody takes it."""
ASKED = [(key, version) for key, handler in HANDLERS.items() for version in handler.versions if key not in LEFT_OUT]
REFUSED = [(key, version) for key, version in ASKED if key not in EVERYBODY | FILTERED]


class World:
    """A broker with a topic and a group, and a client that may nothing."""

    def __init__(self, broker: KafkaBroker, database: Database, topic_id: UUID, client: WireClient) -> None:
        self.broker, self.database, self.topic_id, self.client = broker, database, topic_id, client

    def ask(self, key: int, version: int, *, by_id: bool = False, name: str = NAME) -> Any:
        request, _ = message_classes(key)
        data = sample(key, version, by_id=by_id).encode(version)
        data = data.replace(NAME.encode(), name.encode()).replace(TOPIC_ID.bytes, self.topic_id.bytes)
        asked: Any = request.decode(memoryview(data), version)
        if key == ApiKey.PRODUCE:
            asked.acks = -1
        return self.client.request(asked, version)

    def kept(self) -> tuple[dict[str, Any], dict[str, int]]:
        """All that the broker keeps: the metadata store's nodes, and its logs with their lengths."""
        nodes = {path: (node.data, node.stat.version) for path, node in self.database.subtree("/").items()}
        return nodes, {str(path): path.stat().st_size for path in Path(self.broker.data_dir).rglob("*.log")}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    config = {
        "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer",
        "super.users": "User:admin",
        "offsets.topic.num.partitions": 1,
    }
    users = {"admin": "admin-secret", "nobody": "nobody-secret"}
    database = Database(None)
    with pytest.MonkeyPatch.context() as patched:
        # A broker of a cluster: it has the APIs between brokers, too.
        patched.setattr("pykbroker.testing.broker.Broker", partial(Broker, database=database))
        with (
            KafkaBroker(users=users, config=config) as broker,
            WireClient(broker.host, broker.port) as admin,
            WireClient(broker.host, broker.port) as nobody,
        ):
            assert login.plain(admin, "admin", users["admin"]).error_code == 0
            assert login.plain(nobody, "nobody", users["nobody"]).error_code == 0
            yield World(broker, database, _fill(admin), nobody)


def _fill(admin: WireClient) -> UUID:
    """A topic with a record, a group with an offset; the topic's id."""
    topic = CreateTopicsRequest.Topic(name=NAME, num_partitions=1, replication_factor=1)
    made = admin.request(CreateTopicsRequest(topics=[topic], timeout_ms=10_000), 7).topics[0]
    assert made.error_code == 0
    data = ProduceRequest.TopicData
    partition = data.PartitionData(index=0, records=build_batch([(b"key", b"value")], timestamp=1))
    produce = ProduceRequest(acks=-1, timeout_ms=9000, topic_data=[data(name=NAME, partition_data=[partition])])
    assert codes(admin.request(produce, 9)) == {0}
    committed = OffsetCommitRequest.Topic(
        name=NAME, partitions=[OffsetCommitRequest.Topic.Partition(partition_index=0, committed_offset=1)]
    )
    while codes(admin.request(FindCoordinatorRequest(key=NAME), 1)) != {0}:
        pass
    assert codes(admin.request(OffsetCommitRequest(group_id=NAME, topics=[committed]), 7)) == {0}
    topic_id: UUID = made.topic_id
    return topic_id


def test_each_api_refuses(world: World) -> None:
    before = world.kept()
    for key, version in REFUSED:
        for by_id in (False, version >= IDS_SINCE.get(ApiKey(key), 99)):
            told = codes(world.ask(key, version, by_id=by_id)) - {0}
            name = f"{ApiKey(key).name} {version}"
            assert told == {expected(key, version)} or version < SILENT.get(ApiKey(key), 0), f"{name}: {told}"
    assert world.kept() == before


def test_what_is_there_is_refused_as_what_is_not(world: World) -> None:
    for key, version in ASKED:
        there, absent = (world.ask(key, version, name=name).encode(version) for name in (NAME, ABSENT))
        assert absent.replace(ABSENT.encode(), NAME.encode()) == there, f"{ApiKey(key).name} {version}"
