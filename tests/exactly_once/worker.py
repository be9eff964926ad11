"""One consume–transform–produce loop in a process of its own: `python -m tests.exactly_once.worker CLIENT SERVERS ID`.

What a client library asks of its users after an error is done here: try again, abort and read again, or give up, which
ends the process, as a kill does at any moment.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial

INPUT, OUTPUT, GROUP = "in", "out", "movers"
BATCH = 250
TIMEOUT_S = 20
SESSION_MS, HEARTBEAT_MS = 2000, 300
TRANSACTION_MS = 10_000


def transformed(value: bytes) -> bytes:
    """What becomes of an input."""
    return b"moved-" + value


def confluent_kafka(bootstrap: str, name: str) -> None:
    """librdkafka's producer and consumer."""
    import confluent_kafka as ck

    logger = logging.getLogger("librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    common = {"bootstrap.servers": bootstrap, "logger": logger, "reconnect.backoff.max.ms": 500}
    producer = ck.Producer(
        common | {"transactional.id": name, "transaction.timeout.ms": TRANSACTION_MS, "linger.ms": 1}
    )
    consumer = ck.Consumer(
        common
        | {
            "group.id": GROUP,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "fetch.wait.max.ms": 50,
        }
    )
    producer.init_transactions(TIMEOUT_S)
    consumer.subscribe([INPUT])

    def again(call: Callable[[], object]) -> None:
        while True:
            try:
                call()
            except ck.KafkaException as error:
                if not error.args[0].retriable():
                    raise
            else:
                return

    while True:
        messages = [one for one in consumer.consume(BATCH, timeout=0.1) if one.error() is None]
        if not messages:
            continue
        try:
            producer.begin_transaction()
            for one in messages:
                producer.produce(OUTPUT, transformed(one.value() or b""), partition=one.partition())
            positions, metadata = consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
            again(partial(producer.send_offsets_to_transaction, positions, metadata, TIMEOUT_S))
            again(lambda: producer.commit_transaction(TIMEOUT_S))
        except ck.KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            again(lambda: producer.abort_transaction(TIMEOUT_S))
            # What the transaction had read is read again, from where the group is.
            for partition in consumer.committed(consumer.assignment(), TIMEOUT_S):
                consumer.seek(partition if partition.offset >= 0 else ck.TopicPartition(INPUT, partition.partition, 0))


def kafka_python(bootstrap: str, name: str) -> None:
    """kafka-python's."""
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.errors import KafkaError, ProducerFencedError
    from kafka.structs import OffsetAndMetadata, TopicPartition

    producer = KafkaProducer(
        bootstrap_servers=bootstrap, transactional_id=name, transaction_timeout_ms=TRANSACTION_MS, linger_ms=1
    )
    consumer = KafkaConsumer(
        INPUT,
        bootstrap_servers=bootstrap,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        max_poll_records=BATCH,
        fetch_max_wait_ms=50,
    )
    producer.init_transactions()
    while True:
        records = consumer.poll(timeout_ms=100)
        if not records:
            continue
        try:
            producer.begin_transaction()
            for tp, found in records.items():
                for one in found:
                    producer.send(OUTPUT, transformed(one.value), partition=tp.partition)
            offsets = {tp: OffsetAndMetadata(found[-1].offset + 1, "", -1) for tp, found in records.items()}
            producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
            producer.commit_transaction()
        except ProducerFencedError:
            raise
        except KafkaError:
            producer.abort_transaction()
            for tp in consumer.assignment():
                committed = consumer.committed(TopicPartition(*tp))
                consumer.seek(tp, committed or 0)


CLIENTS: dict[str, Callable[[str, str], None]] = {"confluent_kafka": confluent_kafka, "kafka_python": kafka_python}

if __name__ == "__main__":
    CLIENTS[sys.argv[1]](sys.argv[2], sys.argv[3])
