"""InitProducerId without a transactional id, over the wire. The outcomes are Apache Kafka 4.3's."""

from __future__ import annotations

from typing import Any

import pytest

from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.describe_producers import DescribeProducersRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing import KafkaBroker

VERSIONS = range(6)


def ask(wire: Any, version: int, transactional_id: str | None = None, **fields: Any) -> Any:
    request = InitProducerIdRequest(transactional_id=transactional_id, **({"transaction_timeout_ms": 1000} | fields))
    answer = wire.request(request, version)
    assert answer.throttle_time_ms == 0
    return answer


@pytest.mark.parametrize("version", VERSIONS)
def test_ids_are_never_given_twice(wire: Any, shared_broker: KafkaBroker, version: int) -> None:
    with type(wire)(shared_broker.host, shared_broker.port) as other:
        answers = [ask(client, version) for client in (wire, other, wire)]
    assert {(answer.error_code, answer.producer_epoch) for answer in answers} == {(0, 0)}
    assert len({answer.producer_id for answer in answers}) == 3
    assert min(answer.producer_id for answer in answers) >= 0


@pytest.mark.parametrize("version", [3, 4, 5])
def test_an_idempotent_producer_that_comes_back_gets_another_id(wire: Any, version: int) -> None:
    known = ask(wire, version).producer_id
    answer = ask(wire, version, producer_id=known, producer_epoch=0)
    assert (answer.error_code, answer.producer_epoch) == (0, 0)
    assert answer.producer_id != known


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("half", [{"producer_id": 5}, {"producer_epoch": 5}])
def test_half_an_identity_is_refused(wire: Any, version: int, half: dict[str, int]) -> None:
    answer = ask(wire, version, **half)
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (E.INVALID_REQUEST, -1, -1)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_empty_transactional_id_is_refused(wire: Any, version: int) -> None:
    answer = ask(wire, version, "")
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (E.INVALID_REQUEST, -1, -1)


def test_producers_are_described(wire: Any) -> None:
    topic = wire.topic()
    known = ask(wire, 4).producer_id
    records = build_batch([(b"k", b"v")] * 3, timestamp=77, producer_id=known, producer_epoch=0, base_sequence=0)
    assert wire.produce(topic, records).error_code == E.NONE
    topics = [
        DescribeProducersRequest.Topic(name=topic.name, partition_indexes=[0, 1]),
        DescribeProducersRequest.Topic(name="no-such-topic", partition_indexes=[0]),
    ]
    described, unknown = wire.request(DescribeProducersRequest(topics=topics), 0).topics
    first, missing = described.partitions
    (producer,) = first.active_producers
    assert (producer.producer_id, producer.producer_epoch, producer.last_sequence) == (known, 0, 2)
    assert (producer.last_timestamp, producer.coordinator_epoch, producer.current_txn_start_offset) == (77, -1, -1)
    assert (first.error_code, missing.error_code) == (E.NONE, E.UNKNOWN_TOPIC_OR_PARTITION)
    assert unknown.partitions[0].error_code == E.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("timeout", [0, -1, 2**31 - 1])
def test_the_timeout_is_for_transactions_alone(wire: Any, timeout: int) -> None:
    assert ask(wire, 4, transaction_timeout_ms=timeout).error_code == 0
