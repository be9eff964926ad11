"""`python -m benchmarks.storage`: the log alone beside plain writes, its recovery and compaction, 10,000 partitions.

Every figure has its bar beside it. Files lie in `--folder`, by default where temporary files go.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import targets
from benchmarks.report import spread
from pykbroker.config.topic import LogConfig
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_cleaner import LogCleaner
from pykbroker.storage.log_loader import load_log
from pykbroker.testing.client import WireClient
from pykbroker.testing.process import BrokerProcess

NOW = 1_700_000_000_000
TP = TopicPartition("bench", 0)
KB, MB = 1 << 10, 1 << 20
_OFFSET = struct.Struct(">q")


class Effort(NamedTuple):
    """How much of each thing is done."""

    rounds: int
    recovered: int
    compacted: int
    partitions: int


FULL = Effort(rounds=7, recovered=1 << 30, compacted=256 * MB, partitions=10_000)
QUICK = Effort(rounds=3, recovered=128 * MB, compacted=32 * MB, partitions=1_000)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: a smoke test, not a figure to quote")
    parser.add_argument("--folder", help="where to write; several GB are needed")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them without any")
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    print("| | measured | bar |\n|---|---:|---:|")
    for part in options.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="pykbroker-bench-", dir=options.folder) as folder:
            PARTS[part](Path(folder), effort)
    return 0


def row(words: str, measured: str, bar: str = "") -> None:
    print(f"| {words} | {measured} | {bar} |", flush=True)


def new_log(folder: Path, **config: object) -> UnifiedLog:
    return UnifiedLog.create(TP, str(folder), LogConfig(**config), None, NOW)  # type: ignore[arg-type]


def batch_of(size: int, *, keys: int = 0, first_key: int = 0) -> bytearray:
    """A batch of about `size` bytes: records of 1 KB at most."""
    each = min(size, KB) - 80 if size <= KB else KB - 20
    values = [
        (b"key-%012d" % ((first_key + place) % keys) if keys else None, os.urandom(each))
        for place in range(max(size // KB, 1))
    ]
    return bytearray(build_batch(values, timestamp=NOW))


# -- append ----------------------------------------------------------------------------------------------------


def append(folder: Path, effort: Effort) -> None:
    """Append in turn with plain writes of the same bytes."""
    for size, total in ((KB, 32 * MB), (16 * KB, 128 * MB), (MB - 2 * KB, 512 * MB)):
        batch = batch_of(size)
        count = total // len(batch)
        plain, logged, ratios = [], [], []
        for number in range(effort.rounds):
            plain.append(plain_writes(folder / "plain", batch, count))
            logged.append(log_appends(folder / f"log-{number}", batch, count))
            ratios.append(logged[-1] / plain[-1])
        name = f"{len(batch) / KB:.0f} KB batches" if size < MB // 2 else "1 MB batches"
        row(f"append {name}, MB/s", spread(logged, ".0f"))
        row("plain write of the same, MB/s", spread(plain, ".0f"))
        row("append / plain write", spread(ratios, ".2f"), "≥ 0.6" if size > MB // 2 else "")


def plain_writes(path: Path, batch: bytearray, count: int) -> float:
    """MB/s of one `os.write` a batch."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    begun = time.perf_counter()
    for _ in range(count):
        os.write(fd, batch)
    seconds = time.perf_counter() - begun
    os.close(fd)
    path.unlink()
    return len(batch) * count / seconds / 1e6


def log_appends(folder: Path, batch: bytearray, count: int) -> float:
    """MB/s of `append_as_leader`, checksums checked."""
    log = new_log(folder)
    begun = time.perf_counter()
    for _ in range(count):
        _OFFSET.pack_into(batch, 0, 0)
        log.append_as_leader(batch, 0, NOW)
    seconds = time.perf_counter() - begun
    log.remove_files()
    return len(batch) * count / seconds / 1e6


# -- recovery --------------------------------------------------------------------------------------------------


def recovery(folder: Path, effort: Effort) -> None:
    """Opening a log that nobody closed, all of it above the recovery point, from a warm page cache."""
    for size, total, bar in (
        (16 * KB, effort.recovered, "≥ 400"),
        (MB - 2 * KB, effort.recovered, "≥ 400"),
        (KB, effort.recovered // 8, ""),
    ):
        path = folder / f"log-{size}"
        log = new_log(path, segment_bytes=128 * MB)
        batch = batch_of(size)
        for _ in range(total // len(batch)):
            _OFFSET.pack_into(batch, 0, 0)
            log.append_as_leader(batch, 0, NOW)
        end = log.log_end_offset
        samples = []
        for _ in range(3):
            begun = time.perf_counter()
            found = load_log(TP, str(path), log.config, NOW, clean=False)
            samples.append(log.size / (time.perf_counter() - begun) / 1e6)
            if found.log_end_offset != end:
                raise RuntimeError(f"recovered up to {found.log_end_offset} of {end}")
        row(
            f"recovery of {log.size / (1 << 30):.2f} GiB in {len(batch) / KB:.0f} KB batches, MB/s",
            spread(samples, ".0f"),
            bar,
        )
        shutil.rmtree(path)


# -- compaction ------------------------------------------------------------------------------------------------


def compaction(folder: Path, effort: Effort) -> None:
    """One cleaning of a log in which most keys come ten times, by uncompressed batches of 16 KB."""
    log = new_log(folder / "bench-0", segment_bytes=32 * MB, cleanup_policy=("compact",))
    records = effort.compacted // KB
    for number in range(records // 16):
        log.append_as_leader(batch_of(16 * KB, keys=records // 10, first_key=number * 16), 0, NOW)
    log.roll(NOW)
    log.flush(NOW)
    before = log.size
    begun = time.perf_counter()
    result = LogCleaner([log]).run_once(NOW)
    seconds = time.perf_counter() - begun
    if result is None:
        raise RuntimeError("nothing was cleaned")
    row(f"compaction of {before / MB:.0f} MiB, MB of log/s", f"{before / seconds / 1e6:.0f}", "beside Kafka's")
    row("compaction leaves, %", f"{100 * log.size / before:.0f}")


def kafka_compaction(folder: Path, effort: Effort) -> None:
    """What Apache Kafka's cleaner says of its own speed with the same records; left out where Kafka can't be had."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic
    from tests.verified.apache_kafka import ApacheKafka, Unavailable

    records = effort.compacted // KB
    try:
        with ApacheKafka(folder, for_speed=True) as kafka:
            admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
            # Nothing is cleaned while it is written.
            config = {"cleanup.policy": "compact", "min.compaction.lag.ms": "86400000", "segment.bytes": str(32 * MB)}
            admin.create_topics([NewTopic("bench", 1, 1, config=config)])["bench"].result(30)
            producer = Producer(
                {"bootstrap.servers": kafka.bootstrap_servers, "batch.size": 16 * KB, "linger.ms": 5, "log_level": 0}
            )
            for number in range(records):
                producer.produce("bench", os.urandom(KB - 20), b"key-%012d" % (number % (records // 10)))
                producer.poll(0)
                if number % 10_000 == 0:
                    producer.flush()
            producer.flush()
            lag = ConfigEntry("min.compaction.lag.ms", "0", incremental_operation=AlterConfigOpType.SET)
            dirty = ConfigEntry("min.cleanable.dirty.ratio", "0.1", incremental_operation=AlterConfigOpType.SET)
            change = ConfigResource(ConfigResource.Type.TOPIC, "bench", incremental_configs=[lag, dirty])
            admin.incremental_alter_configs([change])[change].result(30)
            said = await_cleaning(folder / "out")
    except Unavailable as reason:
        row("compaction by Apache Kafka", str(reason))
        return
    row("compaction by Apache Kafka of the same, MB of log/s", said)


def await_cleaning(out: Path) -> str:
    """The speed in the cleaner's report on `bench`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = re.search(
            r"cleaned log bench-0.*?MB of log processed in .*?\(([\d,.]+) MB/sec\)", out.read_text(), re.S
        )
        if found is not None:
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"no word of a cleaning in {out.read_text()[-1000:]}")


# -- partitions ------------------------------------------------------------------------------------------------


def partitions(folder: Path, effort: Effort) -> None:
    """Start after a clean stop, memory and descriptors, with a record in every partition."""
    with broker(folder / "empty") as running:
        empty = memory(running.pid)
    data = folder / "full"
    with broker(data) as running:
        begun = time.perf_counter()
        create_topics(running, effort.partitions)
        produce_everywhere(running.bootstrap_servers, effort.partitions)
        row(f"create and write {effort.partitions:,} partitions, s", f"{time.perf_counter() - begun:.1f}")
    begun = time.perf_counter()
    with broker(data) as running:
        seconds = time.perf_counter() - begun
        each = (memory(running.pid) - empty) / effort.partitions / 1e3
        open_files = len(os.listdir(f"/proc/{running.pid}/fd"))
        check_end(running, effort.partitions)
        begun = time.perf_counter()
    row(f"start with {effort.partitions:,} partitions, s", f"{seconds:.2f}", "≤ 3")
    row("memory of a partition, kB", f"{each:.1f}", "≤ 12")
    row("file descriptors", f"{open_files}", "bounded")
    row("clean stop, s", f"{time.perf_counter() - begun:.2f}")


@contextmanager
def broker(folder: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(data_dir=folder, stderr=subprocess.DEVNULL) as running:
        targets.metadata_answer(running.bootstrap_servers)
        yield running


def memory(pid: int) -> float:
    """Proportional set size in bytes."""
    target = targets.Target("", "", pid, topics_are_created=True)
    return target.memory()["Pss"] * 1e6


def create_topics(running: BrokerProcess, count: int) -> None:
    with WireClient(running.host, running.port, timeout=120) as client:
        for first in range(0, count, 1000):
            topic = CreateTopicsRequest.Topic(name=f"t{first}", num_partitions=min(1000, count), replication_factor=1)
            answer = client.request(CreateTopicsRequest(topics=[topic], timeout_ms=120_000), 5)
            if answer.topics[0].error_code:
                raise RuntimeError(f"no topic: {answer.topics[0].error_message}")


def produce_everywhere(bootstrap: str, count: int) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "acks": 1, "log_level": 0})
    for first in range(0, count, 1000):
        for partition in range(min(1000, count)):
            producer.produce(f"t{first}", b"x", partition=partition)
        if producer.flush(120):
            raise RuntimeError("not everything was written")


def check_end(running: BrokerProcess, count: int) -> None:
    """The record of the last partition has to be there."""
    last = ListOffsetsRequest.Topic.Partition(partition_index=min(1000, count) - 1, timestamp=-1)
    topic = ListOffsetsRequest.Topic(name=f"t{(count - 1) // 1000 * 1000}", partitions=[last])
    with WireClient(running.host, running.port) as client:
        answer = client.request(ListOffsetsRequest(topics=[topic]), 5)
    if answer.topics[0].partitions[0].offset != 1:
        raise RuntimeError(f"the last partition answers {answer.topics[0].partitions[0]}")


PARTS = {
    "append": append,
    "recovery": recovery,
    "compaction": compaction,
    "kafka-compaction": kafka_compaction,
    "partitions": partitions,
}

if __name__ == "__main__":
    sys.exit(main())
