"""Has Apache Kafka write data of every kind; `python -m tests.verified.make_kafka_data [VERSION]` packs it up.

`kafka-3.9.1.tar.xz` beside this file was made so. It holds two copies of one data directory: `killed`, as kill -9 left
it, with the preallocated indexes of active segments; and `clean`, after another start and a clean stop.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from tests.verified.apache_kafka import ApacheKafka

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
RESOURCE_VERSION = "3.9.1"
ROLLED = {"segment.bytes": "3000", "index.interval.bytes": "200"}
TOPICS = {
    "codecs": ROLLED,
    "transactions": ROLLED,
    "trimmed": ROLLED,
    "compacted": ROLLED | {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"},
    "stamped": {"message.timestamp.type": "LogAppendTime"},
}
TIME = 1_700_000_000_000


def resource() -> Path:
    return Path(__file__).parent / f"kafka-{RESOURCE_VERSION}.tar.xz"


def write_all(bootstrap: str, topics: dict[str, dict[str, str]] = TOPICS) -> None:
    """Everything that the tests look for."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic(name, 1, 1, config=config) for name, config in topics.items()]).values():
        made.result(30)
    for codec in CODECS:
        _produce(bootstrap, "codecs", 30, codec)
    _produce(bootstrap, "stamped", 3, "none")
    _produce(bootstrap, "trimmed", 60, "none")
    _produce(bootstrap, "compacted", 200, "lz4", keys=7)
    _transactions(bootstrap)
    _commit(bootstrap)
    for done in admin.delete_records([TopicPartition("trimmed", 0, 37)]).values():
        done.result(30)


def _produce(bootstrap: str, topic: str, count: int, codec: str, keys: int = 1000) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": codec,
            "linger.ms": 1,
            "batch.num.messages": 5,
            "enable.idempotence": codec == "zstd",
            "log_level": 0,
        }
    )
    for number in range(count):
        value = None if topic == "compacted" and number % 50 == 49 else b"%d-" % number * 10
        key = b"k%d" % (number % keys)
        producer.produce(topic, value, key, headers=[("h", b"1"), ("n", None)], timestamp=TIME + number)
        if number % 5 == 4:
            producer.flush(10)
    assert producer.flush(10) == 0


def _transactions(bootstrap: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "t", "linger.ms": 1, "log_level": 0})
    producer.init_transactions(30)
    for number in range(12):
        producer.begin_transaction()
        for part in range(3):
            producer.produce("transactions", b"%d.%d" % (number, part) * 20, timestamp=TIME + number)
        producer.flush(10)
        if number % 3 == 2:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    producer.begin_transaction()
    producer.produce("transactions", b"open", timestamp=TIME)
    producer.flush(10)


def _commit(bootstrap: str) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "readers", "auto.offset.reset": "earliest"})
    consumer.subscribe(["codecs"])
    deadline = time.monotonic() + 30
    while consumer.poll(1) is None:
        assert time.monotonic() < deadline
    consumer.commit(asynchronous=False)
    consumer.close()


def end_offsets(bootstrap: str, topics: list[str]) -> dict[str, int]:
    """The high watermark of each topic's partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "ends",
            "isolation.level": "read_uncommitted",
            "log_level": 0,
        }
    )
    try:
        return {topic: consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1] for topic in topics}
    finally:
        consumer.close()


def await_compaction(data: Path) -> None:
    """Until the cleaner has been at `compacted`."""
    deadline = time.monotonic() + 60
    while "compacted" not in _text(data / "cleaner-offset-checkpoint"):
        assert time.monotonic() < deadline, "no compaction within a minute"
        time.sleep(0.1)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def main(version: str = RESOURCE_VERSION) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kafka = ApacheKafka(folder, version)
        kafka.start()
        write_all(kafka.bootstrap_servers)
        await_compaction(kafka.data)
        kafka.stop(signal.SIGKILL)
        shutil.copytree(kafka.data, folder / "killed")
        kafka.start()
        _produce(kafka.bootstrap_servers, "codecs", 1, "none")
        kafka.stop()
        shutil.copytree(kafka.data, folder / "clean")
        path = resource().with_name(f"kafka-{version}.tar.xz")
        with tarfile.open(path, "w:xz", preset=9) as packed:
            for name in ("killed", "clean"):
                packed.add(folder / name, name, filter=_anonymous)
        print(f"{path}: {path.stat().st_size} bytes")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    # The log of the controllers' quorum is large, and not a topic's.
    return None if "__cluster_metadata" in member.name else member


if __name__ == "__main__":
    main(*sys.argv[1:])
