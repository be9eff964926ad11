"""Transactions over the wire: records, markers and offsets, from the first request to what a reader sees."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from tests.apis.conftest import Wire

from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from pykbroker.protocol.messages.add_partitions_to_txn import AddPartitionsToTxnRequest
from pykbroker.protocol.messages.describe_transactions import DescribeTransactionsRequest
from pykbroker.protocol.messages.end_txn import EndTxnRequest
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.messages.list_transactions import ListTransactionsRequest
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.messages.txn_offset_commit import TxnOffsetCommitRequest
from pykbroker.protocol.messages.write_txn_markers import WriteTxnMarkersRequest
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.protocol.records.control import read_marker
from pykbroker.testing import KafkaBroker

_ids = count()
NOW_MS = time.time_ns() // 1_000_000
"""Not long before the markers, or those would come into a segment of their own."""

LAST_WITH_ONE_EPOCH, LATEST = (11, 4, 4), (13, 5, 5)
"""Produce, EndTxn, TxnOffsetCommit of clients with transaction.version 0 and 2."""


@dataclass
class Client:
    """A transactional producer of few words."""

    wire: Any
    transactional_id: str
    produce_version: int
    end_version: int
    commit_version: int
    id: int = -1
    epoch: int = -1
    sequence: int = 0

    def init(self, **fields: Any) -> E:
        request = InitProducerIdRequest(
            transactional_id=self.transactional_id, **({"transaction_timeout_ms": 60_000} | fields)
        )
        answer = self.wire.request(request, 5)
        while answer.error_code == E.CONCURRENT_TRANSACTIONS:
            answer = self.wire.request(request, 5)
        if answer.error_code == E.NONE:
            self.id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return E(answer.error_code)

    def add(self, topic: Any, version: int = 3) -> E:
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self.transactional_id,
            v3_and_below_producer_id=self.id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=[AddPartitionsToTxnRequest.Topic(name=topic.name, partitions=[0])],
        )
        while True:
            (found,) = self.wire.request(request, version).results_by_topic_v3_and_below
            code = E(found.results_by_partition[0].partition_error_code)
            if code is not E.CONCURRENT_TRANSACTIONS:
                return code

    def send(self, topic: Any, value: bytes = b"v") -> E:
        records = build_batch(
            [(None, value)],
            timestamp=NOW_MS,
            producer_id=self.id,
            producer_epoch=self.epoch,
            base_sequence=self.sequence,
            transactional=True,
        )
        answer = self.wire.produce(topic, records, self.produce_version, transactional_id=self.transactional_id)
        while answer.error_code == E.CONCURRENT_TRANSACTIONS:
            answer = self.wire.produce(topic, records, self.produce_version, transactional_id=self.transactional_id)
        if answer.error_code == E.NONE:
            self.sequence += 1
        return E(answer.error_code)

    def begin(self, topic: Any) -> None:
        if self.produce_version < 12:
            assert self.add(topic) == E.NONE
        assert self.send(topic) == E.NONE

    def end(self, *, committed: bool) -> E:
        request = EndTxnRequest(
            transactional_id=self.transactional_id,
            producer_id=self.id,
            producer_epoch=self.epoch,
            committed=committed,
        )
        answer = self.wire.request(request, self.end_version)
        if answer.error_code == E.NONE and self.end_version >= 5:
            self.id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return E(answer.error_code)

    def commit_offset(self, group: str, topic: Any, offset: int) -> E:
        partition = TxnOffsetCommitRequest.Topic.Partition(partition_index=0, committed_offset=offset)
        request = TxnOffsetCommitRequest(
            transactional_id=self.transactional_id,
            group_id=group,
            producer_id=self.id,
            producer_epoch=self.epoch,
            topics=[TxnOffsetCommitRequest.Topic(name=topic.name, partitions=[partition])],
        )
        (answer,) = self.wire.request(request, self.commit_version).topics
        return E(answer.partitions[0].error_code)


@pytest.fixture(params=[LAST_WITH_ONE_EPOCH, LATEST], ids=["one-epoch", "epoch-per-transaction"])
def client(wire: Any, request: pytest.FixtureRequest) -> Client:
    name = f"transaction-{next(_ids)}"
    assert wire.request(FindCoordinatorRequest(key_type=1, coordinator_keys=[name]), 4).coordinators[0].error_code == 0
    assert wire.request(FindCoordinatorRequest(key_type=0, coordinator_keys=[name]), 4).coordinators[0].error_code == 0
    made = Client(wire, name, *request.param)
    assert made.init() == E.NONE
    return made


def fetch(wire: Any, topic: Any, *, committed: bool = True) -> Any:
    partition = FetchRequest.Topic.Partition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)
    request = FetchRequest(
        replica_id=-1,
        isolation_level=int(committed),
        max_bytes=1 << 20,
        topics=[FetchRequest.Topic(topic=topic.name, partitions=[partition])],
    )
    ((answer,),) = (one.partitions for one in wire.request(request, 12).responses)
    return answer


def values(wire: Any, topic: Any) -> list[bytes | None]:
    """What a client that reads committed records makes of an answer: KIP-98's way of leaving out aborted ones."""
    answer = fetch(wire, topic)
    begins = sorted((one.first_offset, one.producer_id) for one in answer.aborted_transactions)
    under_abort: set[int] = set()
    found = []
    for batch in batches(answer.records or b""):
        while begins and begins[0][0] <= batch.base_offset:
            under_abort.add(begins.pop(0)[1])
        if batch.is_control:
            under_abort.discard(batch.producer_id)
        elif batch.producer_id not in under_abort:
            found += [record.value for record in batch.records()]
    return found


def markers(wire: Any, topic: Any) -> list[tuple[str, int]]:
    controls = [one for one in batches(fetch(wire, topic, committed=False).records) if one.is_control]
    found = [(read_marker(batch), batch.producer_epoch) for batch in controls]
    return [(marker.type.name, epoch) for marker, epoch in found if marker]


def settled(client: Client) -> Any:
    """The transaction, once its markers are written."""
    request = DescribeTransactionsRequest(transactional_ids=[client.transactional_id])
    while True:
        (found,) = client.wire.request(request, 0).transaction_states
        if not found.transaction_state.startswith("Prepare"):
            return found


def test_a_committed_record_is_read_and_an_aborted_one_never(wire: Any, client: Client) -> None:
    topic = wire.topic()
    client.begin(topic)
    assert values(wire, topic) == []
    assert fetch(wire, topic).last_stable_offset == 0
    assert client.end(committed=True) == E.NONE
    assert settled(client).transaction_state == "CompleteCommit"
    assert values(wire, topic) == [b"v"]
    client.begin(topic)
    assert client.end(committed=False) == E.NONE
    assert settled(client).transaction_state == "CompleteAbort"
    assert values(wire, topic) == [b"v"]
    answer = fetch(wire, topic)
    assert (answer.last_stable_offset, answer.high_watermark) == (4, 4)
    assert [one.first_offset for one in answer.aborted_transactions] == [2]
    bumped = int(client.end_version >= 5)
    assert markers(wire, topic) == [("COMMIT", bumped), ("ABORT", 2 * bumped)]


def test_the_end_of_what_is_stable(wire: Any, client: Client) -> None:
    topic = wire.topic()
    wire.produce(topic, build_batch([(None, b"plain")], timestamp=NOW_MS))
    client.begin(topic)

    def latest(isolation: int) -> int:
        partition = ListOffsetsRequest.Topic.Partition(partition_index=0, timestamp=-1)
        topics = [ListOffsetsRequest.Topic(name=topic.name, partitions=[partition])]
        (found,) = wire.request(ListOffsetsRequest(replica_id=-1, isolation_level=isolation, topics=topics), 5).topics
        offset: int = found.partitions[0].offset
        return offset

    assert (latest(0), latest(1)) == (2, 1)
    client.end(committed=True)
    settled(client)
    assert (latest(0), latest(1)) == (3, 3)


def test_another_producer_fences_the_first_and_ends_its_transaction(wire: Any, client: Client) -> None:
    topic = wire.topic()
    client.begin(topic)
    newer = Client(wire, client.transactional_id, client.produce_version, client.end_version, client.commit_version)
    assert newer.init() == E.NONE
    assert (newer.id, newer.epoch) == (client.id, client.epoch + 2)
    assert client.send(topic) == E.INVALID_PRODUCER_EPOCH
    assert client.end(committed=True) == E.PRODUCER_FENCED
    assert client.add(topic) == E.PRODUCER_FENCED
    assert client.add(topic, version=1) == E.INVALID_PRODUCER_EPOCH
    newer.begin(topic)
    newer.end(committed=True)
    settled(newer)
    assert values(wire, topic) == [b"v"]


def test_what_is_no_part_of_a_transaction_is_refused(wire: Any, client: Client) -> None:
    topic = wire.topic()
    if client.produce_version < 12:
        assert client.send(topic) == E.TRANSACTION_ABORTABLE
        client.produce_version = 10
        assert client.send(topic) == E.INVALID_TXN_STATE
    client.id += 1
    assert client.send(topic) == E.INVALID_PRODUCER_ID_MAPPING
    assert client.add(topic) == E.INVALID_PRODUCER_ID_MAPPING
    assert client.end(committed=True) == E.INVALID_PRODUCER_ID_MAPPING
    assert fetch(wire, topic, committed=False).records == b""


def test_partitions_are_added_all_or_none(wire: Any, client: Client) -> None:
    topic = wire.topic()
    topics = [
        AddPartitionsToTxnRequest.Topic(name=topic.name, partitions=[0]),
        AddPartitionsToTxnRequest.Topic(name="no-such-topic", partitions=[0]),
    ]
    request = AddPartitionsToTxnRequest(
        v3_and_below_transactional_id=client.transactional_id,
        v3_and_below_producer_id=client.id,
        v3_and_below_producer_epoch=client.epoch,
        v3_and_below_topics=topics,
    )
    answer = wire.request(request, 3)
    codes = [one.results_by_partition[0].partition_error_code for one in answer.results_by_topic_v3_and_below]
    assert codes == [E.OPERATION_NOT_ATTEMPTED, E.UNKNOWN_TOPIC_OR_PARTITION]
    assert settled(client).transaction_state == "Empty"


def test_offsets_count_with_the_commit(wire: Any, client: Client) -> None:
    topic, group = wire.topic(), client.transactional_id

    def offset(*, stable: bool = False) -> tuple[int, int]:
        asked = OffsetFetchRequest.Group(
            group_id=group, topics=[OffsetFetchRequest.Group.Topic(name=topic.name, partition_indexes=[0])]
        )
        ((answer,),) = (
            one.topics for one in wire.request(OffsetFetchRequest(groups=[asked], require_stable=stable), 9).groups
        )
        return answer.partitions[0].committed_offset, answer.partitions[0].error_code

    for committed, expected in ((True, 7), (False, 7), (True, 9)):
        if client.commit_version < 5:
            request = AddOffsetsToTxnRequest(
                transactional_id=group, producer_id=client.id, producer_epoch=client.epoch, group_id=group
            )
            assert wire.request(request, 3).error_code == E.NONE
        before = offset()
        assert client.commit_offset(group, topic, {True: expected, False: 8}[committed]) == E.NONE
        assert offset() == before
        assert offset(stable=True) == (-1, E.UNSTABLE_OFFSET_COMMIT)
        client.end(committed=committed)
        settled(client)
        assert offset(stable=True) == (expected, E.NONE)


def test_offsets_of_no_transaction_are_refused(wire: Any, client: Client) -> None:
    topic = wire.topic()
    if client.commit_version < 5:
        assert client.commit_offset(client.transactional_id, topic, 7) == E.TRANSACTION_ABORTABLE
        client.commit_version = 3
        assert client.commit_offset(client.transactional_id, topic, 7) == E.INVALID_TXN_STATE
    assert client.commit_offset("", topic, 7) == E.INVALID_GROUP_ID


def test_transactions_are_described_and_listed(wire: Any, client: Client) -> None:
    topic = wire.topic()
    client.begin(topic)
    request = DescribeTransactionsRequest(transactional_ids=[client.transactional_id, "", "nobody"])
    known, empty, unknown = wire.request(request, 0).transaction_states
    assert (known.transaction_state, known.producer_id, known.producer_epoch) == ("Ongoing", client.id, client.epoch)
    assert (known.transaction_timeout_ms, known.transaction_start_time_ms > 0) == (60_000, True)
    assert [(one.topic, one.partitions) for one in known.topics] == [(topic.name, [0])]
    assert (empty.error_code, unknown.error_code) == (E.INVALID_REQUEST, E.TRANSACTIONAL_ID_NOT_FOUND)

    def listed(**filters: Any) -> list[str]:
        answer = wire.request(ListTransactionsRequest(**filters), 2)
        assert answer.error_code == E.NONE
        return [one.transactional_id for one in answer.transaction_states]

    name = client.transactional_id
    assert name in listed()
    assert listed(producer_id_filters=[client.id]) == [name]
    assert name in listed(state_filters=["Ongoing", "no such state"])
    assert name not in listed(state_filters=["Empty"])
    assert listed(producer_id_filters=[client.id], duration_filter=3_600_000) == []
    assert listed(transactional_id_pattern=f"{name[:-1]}.") == [name] or name in listed(transactional_id_pattern=".*")
    assert listed(transactional_id_pattern="no such") == []
    assert wire.request(ListTransactionsRequest(state_filters=["What"]), 0).unknown_state_filters == ["What"]
    wrong = wire.request(ListTransactionsRequest(transactional_id_pattern="("), 2)
    assert wrong.error_code == E.INVALID_REGULAR_EXPRESSION
    client.end(committed=False)


def test_brokers_add_and_verify_for_their_clients(wire: Any, client: Client) -> None:
    topic = wire.topic(2)

    def ask(
        partition: int, *, verify_only: bool, epoch: int = client.epoch, name: str = client.transactional_id
    ) -> int:
        one = AddPartitionsToTxnRequest.Transaction(
            transactional_id=name,
            producer_id=client.id,
            producer_epoch=epoch,
            verify_only=verify_only,
            topics=[AddPartitionsToTxnRequest.Topic(name=topic.name, partitions=[partition])],
        )
        (answer,) = wire.request(AddPartitionsToTxnRequest(transactions=[one]), 5).results_by_transaction
        code: int = answer.topic_results[0].results_by_partition[0].partition_error_code
        return code

    assert ask(0, verify_only=True) == E.TRANSACTION_ABORTABLE
    assert ask(0, verify_only=False) == E.NONE
    assert ask(0, verify_only=True) == E.NONE
    assert ask(1, verify_only=True) == E.TRANSACTION_ABORTABLE
    assert ask(0, verify_only=True, epoch=client.epoch + 1) == E.PRODUCER_FENCED
    assert ask(0, verify_only=True, name="nobody") == E.INVALID_PRODUCER_ID_MAPPING
    assert ask(0, verify_only=True, name="") == E.INVALID_REQUEST
    client.end(committed=False)


def test_markers_come_from_other_brokers_too(wire: Any, client: Client) -> None:
    topic = wire.topic()
    client.begin(topic)

    def write(coordinator_epoch: int, epoch: int) -> int:
        marker = WriteTxnMarkersRequest.Marker(
            producer_id=client.id,
            producer_epoch=epoch,
            transaction_result=True,
            coordinator_epoch=coordinator_epoch,
            topics=[WriteTxnMarkersRequest.Marker.Topic(name=topic.name, partition_indexes=[0])],
        )
        (answer,) = wire.request(WriteTxnMarkersRequest(markers=[marker]), 1).markers
        assert answer.producer_id == client.id
        code: int = answer.topics[0].partitions[0].error_code
        return code

    assert write(5, client.epoch - 1) == E.INVALID_PRODUCER_EPOCH
    assert write(5, client.epoch) == E.NONE
    assert write(4, client.epoch) == E.TRANSACTION_COORDINATOR_FENCED
    assert values(wire, topic) == [b"v"]


def test_records_of_two_producers_are_refused_together(wire: Any, client: Client) -> None:
    topic = wire.topic(2)

    def records(producer_id: int) -> bytes:
        return build_batch(
            [(None, b"v")],
            timestamp=NOW_MS,
            producer_id=producer_id,
            producer_epoch=0,
            base_sequence=0,
            transactional=True,
        )

    data = [
        ProduceRequest.TopicData.PartitionData(index=index, records=records(client.id + index)) for index in range(2)
    ]
    topic_data = [ProduceRequest.TopicData(name=topic.name, partition_data=data)]
    request = ProduceRequest(transactional_id=client.transactional_id, acks=-1, timeout_ms=1000, topic_data=topic_data)
    (answer,) = wire.request(request, 11).responses
    assert [one.error_code for one in answer.partition_responses] == [E.INVALID_PRODUCER_ID_MAPPING] * 2


@pytest.mark.parametrize("timeout", [0, -1, 900_001])
def test_a_transaction_has_a_timeout(client: Client, timeout: int) -> None:
    assert client.init(transaction_timeout_ms=timeout) == E.INVALID_TRANSACTION_TIMEOUT


def test_a_producer_goes_on_after_an_error(client: Client) -> None:
    known = client.id, client.epoch
    assert client.init(producer_id=known[0], producer_epoch=known[1]) == E.NONE
    assert (client.id, client.epoch) == (known[0], known[1] + 1)
    # The same request come twice is answered the same.
    assert client.init(producer_id=known[0], producer_epoch=known[1]) == E.NONE
    assert (client.id, client.epoch) == (known[0], known[1] + 1)
    assert client.init() == E.NONE
    assert client.init(producer_id=known[0], producer_epoch=known[1]) == E.PRODUCER_FENCED


def test_without_verification_the_log_alone_decides() -> None:
    """As before KIP-890: what isn't known to the coordinator is written, and hangs until its producer comes again."""
    with (
        KafkaBroker(config={"transaction.partition.verification.enable": "false"}) as broker,
        Wire(broker.host, broker.port) as wire,
    ):
        assert wire.request(FindCoordinatorRequest(key_type=1, key="t"), 3).error_code == E.NONE
        client = Client(wire, "t", *LAST_WITH_ONE_EPOCH)
        assert client.init() == E.NONE
        topic = wire.topic()
        assert client.send(topic) == E.NONE
        assert fetch(wire, topic).last_stable_offset == 0
        client.produce_version = LATEST[0]
        assert client.send(wire.topic()) == E.OUT_OF_ORDER_SEQUENCE_NUMBER, "its first sequence must be 0"
