"""A real producer and a real consumer, each over its quota: told so, slowed down, and nothing is lost."""

import re
import warnings
from collections.abc import Mapping

import pytest

from pykbroker.protocol.messages.alter_client_quotas import AlterClientQuotasRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

RATE, RECORDS, SIZE = 400_000, 60, 10_000


@pytest.fixture
def kafka_broker_config() -> Mapping[str, str]:
    """Two windows, so that no more than one second's worth is free."""
    return {"quota.window.num": "2"}


def throttled(caplog: pytest.LogCaptureFixture, what: str) -> float:
    """For how many seconds a client was told to wait, by its own log."""
    found = re.findall(rf"{what} throttled by broker \((\d+) ms\)", caplog.text)
    return sum(int(text) for text in found) / 1000


@pytest.mark.slow
def test_a_producer_and_a_consumer_over_their_quotas(
    kafka_broker: KafkaBroker, caplog: pytest.LogCaptureFixture
) -> None:
    entry = AlterClientQuotasRequest.Entry
    with WireClient(kafka_broker.host, kafka_broker.port) as wire:
        quota = entry(
            entity=[entry.Entity(entity_type="client-id", entity_name="slow")],
            ops=[entry.Op(key=key, value=RATE) for key in ("producer_byte_rate", "consumer_byte_rate")],
        )
        (answer,) = wire.request(AlterClientQuotasRequest(entries=[quota]), 1).entries
        assert answer.error_code == 0
    servers = kafka_broker.bootstrap_servers
    producer = KafkaProducer(bootstrap_servers=servers, client_id="slow", acks="all", batch_size=SIZE)
    for number in range(RECORDS):
        producer.send("t", bytes([number]) * SIZE)
    producer.flush(30)
    producer.close()
    consumer = KafkaConsumer(
        bootstrap_servers=servers,
        client_id="slow",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=10_000,
        max_partition_fetch_bytes=8 * SIZE,
    )
    consumer.assign([TopicPartition("t", 0)])
    values = [next(consumer).value[0] for _ in range(RECORDS)]
    consumer.close()
    assert values == list(range(RECORDS))
    # 600 kB at 400 kB a second, of which a second's worth is free: half a second is to be waited, less what the
    # machine takes by itself.
    wait = RECORDS * SIZE / RATE - 1
    assert 0 < throttled(caplog, "ProduceResponse") <= 2 * wait
    assert 0 < throttled(caplog, "FetchResponse") <= 3 * wait
