"""`pykbroker transactions`: seen, found hanging, ended; and what `consume` makes of them."""

from collections.abc import Iterator
from unittest.mock import AsyncMock, Mock

import pytest
from tests.cli.conftest import Command

from pykbroker.cli.transactions import _open_partitions
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.add_partitions_to_txn import AddPartitionsToTxnRequest
from pykbroker.protocol.messages.end_txn import EndTxnRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.messages.list_transactions import ListTransactionsResponse
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient


class TransactionalProducer:
    """Just enough of one, for one partition."""

    def __init__(self, client: WireClient, topic: str) -> None:
        self._client = client
        self.name = topic
        client.request(FindCoordinatorRequest(key_type=1, coordinator_keys=[topic]), 4)
        while True:
            answer = client.request(InitProducerIdRequest(transactional_id=topic, transaction_timeout_ms=60_000), 4)
            if not answer.error_code:
                break
        self.id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0

    def send(self, *values: bytes, timestamp: int = 1) -> None:
        topic = AddPartitionsToTxnRequest.Topic(name=self.name, partitions=[0])
        added = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self.name,
            v3_and_below_producer_id=self.id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=[topic],
        )
        while (
            self._client.request(added, 3).results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
        ):
            pass  # What was before is still being ended.
        batch = build_batch(
            [(None, value) for value in values],
            timestamp=timestamp,
            producer_id=self.id,
            producer_epoch=self.epoch,
            base_sequence=self.sequence,
            transactional=True,
        )
        self.sequence += len(values)
        data = ProduceRequest.TopicData.PartitionData(index=0, records=batch)
        topics = [ProduceRequest.TopicData(name=self.name, partition_data=[data])]
        request = ProduceRequest(transactional_id=self.name, acks=-1, timeout_ms=1000, topic_data=topics)
        (answer,) = self._client.request(request, 9).responses
        assert answer.partition_responses[0].error_code == 0

    def end(self, *, committed: bool) -> None:
        request = EndTxnRequest(
            transactional_id=self.name, producer_id=self.id, producer_epoch=self.epoch, committed=committed
        )
        assert self._client.request(request, 3).error_code == 0


@pytest.fixture
def producer(
    pykbroker: Command, broker: KafkaBroker, request: pytest.FixtureRequest
) -> Iterator[TransactionalProducer]:
    name = request.node.name
    pykbroker("topics", "create", name)
    with WireClient(broker.host, broker.port) as client:
        yield TransactionalProducer(client, name)


def test_seen(pykbroker: Command, producer: TransactionalProducer) -> None:
    producer.send(b"1")
    listed = pykbroker("transactions", "list", "--state", "Ongoing")
    assert listed.rows[0] == ["TRANSACTIONAL-ID", "COORDINATOR", "PRODUCER-ID", "STATE"]
    assert [producer.name, "1", str(producer.id), "Ongoing"] in listed.rows
    (found,) = pykbroker("transactions", "describe", producer.name, "--json").document
    assert (found["state"], found["timeout_ms"], found["partitions"]) == ("Ongoing", 60_000, [f"{producer.name}-0"])
    assert found["duration_ms"] >= 0
    (row,) = pykbroker("transactions", "producers", f"{producer.name}:0", "--json").document
    assert (row["producer_id"], row["current_txn_start_offset"], row["last_sequence"]) == (producer.id, 0, 0)
    assert pykbroker("transactions", "list", "--longer-than", "1h").out == ""
    assert pykbroker("transactions", "list", "--pattern", "nobody.*").out == ""
    ran = pykbroker("transactions", "list", "--state", "Lost")
    assert (ran.status, "--state Lost: the brokers know no such state" in ran.err) == (2, True)
    ran = pykbroker("transactions", "describe", "nobody")
    assert "there is no transactional id nobody (TRANSACTIONAL_ID_NOT_FOUND); `pykbroker transactions" in ran.err


def test_read_committed(pykbroker: Command, producer: TransactionalProducer) -> None:
    producer.send(b"kept")
    producer.end(committed=True)
    producer.send(b"rolled back")
    producer.end(committed=False)
    producer.send(b"kept, too")
    producer.end(committed=True)
    producer.send(b"open")
    assert pykbroker("consume", producer.name).lines == ["kept", "rolled back", "kept, too", "open"]
    assert pykbroker("consume", producer.name, "--read-committed").lines == ["kept", "kept, too"]
    assert pykbroker("consume", producer.name, "--read-committed", "--follow", "--max-messages", 2).status == 0


def test_terminated(pykbroker: Command, producer: TransactionalProducer) -> None:
    producer.send(b"1")
    ran = pykbroker("transactions", "terminate", producer.name)
    assert ran.out == f"ended what {producer.name} had open, and fenced it\n"
    assert pykbroker("consume", producer.name, "--read-committed").lines == []
    assert pykbroker("transactions", "list", "--state", "Ongoing", "--producer-id", producer.id).out == ""
    assert pykbroker("transactions", "terminate", "nobody").status == 1


def test_one_that_hangs(pykbroker: Command, producer: TransactionalProducer) -> None:
    """In the partition it is open since 1970; its coordinator knows it, so it will be ended in time."""
    producer.send(b"1")
    ran = pykbroker("transactions", "find-hanging", "--topic", producer.name)
    assert ran == (0, "", "no hanging transactions\n")
    ran = pykbroker("transactions", "abort", f"{producer.name}:0", "--start-offset", 5)
    assert (ran.status, f"{producer.name}-0: no open transaction like that" in ran.err) == (2, True)
    ran = pykbroker("transactions", "abort", f"{producer.name}:0", "--start-offset", 0)
    assert ran.out == f"aborted the transaction of producer {producer.id} in {producer.name}-0\n"
    assert pykbroker("consume", producer.name, "--read-committed").lines == []


async def test_a_coordinator_that_cant_answer_makes_nothing_hang() -> None:
    """Its transactions would be taken for hanging, and be aborted while they are open."""
    loading = ListTransactionsResponse(error_code=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
    cluster = Mock(brokers={1: None}, node=AsyncMock(return_value=loading))
    with pytest.raises(KafkaError, match="broker 1"):
        await _open_partitions(cluster, {1000})
