"""A broker on disks that fill up or break: what clients are told, what is kept, what a person reads."""

from __future__ import annotations

import errno
import logging
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pykbroker.broker import StorageLost
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.delete_records import DeleteRecordsRequest
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient
from pykbroker.testing.process import BrokerProcess

OK, STORAGE_ERROR = ErrorCode.NONE, ErrorCode.KAFKA_STORAGE_ERROR


def connect(broker: KafkaBroker | BrokerProcess) -> WireClient:
    return WireClient(broker.host, broker.port)


def create(client: WireClient, name: str, **configs: str) -> int:
    topic = CreateTopicsRequest.Topic(
        name=name,
        num_partitions=1,
        replication_factor=1,
        configs=[CreateTopicsRequest.Topic.Config(name=key, value=value) for key, value in configs.items()],
    )
    return client.request(CreateTopicsRequest(topics=[topic], timeout_ms=5000), 7).topics[0].error_code


def produce(client: WireClient, topic: str, value: bytes = b"v", acks: int = -1) -> tuple[int, int]:
    batch = build_batch([(None, value)], timestamp=1)
    data = ProduceRequest.TopicData(
        name=topic, partition_data=[ProduceRequest.TopicData.PartitionData(index=0, records=batch)]
    )
    answer = client.request(ProduceRequest(acks=acks, timeout_ms=5000, topic_data=[data]), 9)
    partition = answer.responses[0].partition_responses[0]
    return partition.error_code, partition.base_offset


def fetch(client: WireClient, topic: str, offset: int = 0) -> tuple[int, list[bytes | None]]:
    partition = FetchRequest.Topic.Partition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 22)
    asked = FetchRequest.Topic(topic=topic, partitions=[partition])
    answer = client.request(FetchRequest(max_bytes=1 << 22, topics=[asked]), 12)
    found = answer.responses[0].partitions[0]
    return found.error_code, [record.value for batch in batches(found.records or b"") for record in batch.records()]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE])
def test_the_only_directory_survives_what_passes_by_itself(
    tmp_path: Path, disk: Any, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    with KafkaBroker(data_dir=tmp_path) as broker, connect(broker) as client:
        create(client, "t", **{"segment.bytes": "1048576"})
        produce(client, "t", b"x" * 700_000)
        with disk.failing("pwrite", code, tmp_path / "t-0"), disk.failing("open", code, tmp_path):
            for _ in range(3):
                assert produce(client, "t", b"x" * 700_000)[0] == STORAGE_ERROR
            assert fetch(client, "t")[0] == (OK if code == errno.ENOSPC else STORAGE_ERROR)
            assert create(client, "new") == STORAGE_ERROR
        assert len(errors(caplog)) == 1, errors(caplog)
        assert "can't append to t-0" in errors(caplog)[0]
        assert produce(client, "t", b"y") == (OK, 1)
        assert create(client, "new") == OK
        assert produce(client, "new") == (OK, 0)
    with KafkaBroker(data_dir=tmp_path) as broker, connect(broker) as client:
        assert [len(value or b"") for value in fetch(client, "t")[1]] == [700_000, 1]


def test_one_directory_of_two(tmp_path: Path, disk: Any, caplog: pytest.LogCaptureFixture) -> None:
    config = {"log.dirs": f"{tmp_path}/x,{tmp_path}/y"}
    with KafkaBroker(data_dir=tmp_path / "x", config=config) as broker, connect(broker) as client:
        for name in ("a", "b"):
            create(client, name)
            assert produce(client, name, b"1") == (OK, 0)
        broken = next((tmp_path / "y").glob("[ab]-0")).name[0]
        whole = "b" if broken == "a" else "a"
        with disk.failing("pwrite", errno.EIO, tmp_path / "y"):
            assert produce(client, broken)[0] == STORAGE_ERROR
        for _ in range(2):
            assert produce(client, broken)[0] == STORAGE_ERROR
            assert fetch(client, broken)[0] == STORAGE_ERROR
        assert produce(client, whole, b"2") == (OK, 1)
        assert fetch(client, whole) == (OK, [b"1", b"2"])
        assert create(client, "c") == OK
        assert produce(client, "c") == (OK, 0)
        assert errors(caplog) == [
            f"the data directory {tmp_path}/y is offline, and 1 partitions with it: Input/output error"
        ]
    with KafkaBroker(data_dir=tmp_path / "x", config=config) as broker, connect(broker) as client:
        assert fetch(client, broken) == (OK, [b"1"])


def test_a_directory_that_cannot_be_read_at_the_start(
    tmp_path: Path, disk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"log.dirs": f"{tmp_path}/x,{tmp_path}/y"}
    with KafkaBroker(data_dir=tmp_path / "x", config=config) as broker, connect(broker) as client:
        for name in ("a", "b"):
            create(client, name)
            produce(client, name)
    broken = next((tmp_path / "y").glob("[ab]-0")).name[0]
    with (
        disk.failing("pread", errno.EIO, tmp_path / "y"),
        KafkaBroker(data_dir=tmp_path / "x", config=config) as broker,
        connect(broker) as client,
    ):
        assert fetch(client, broken)[0] == STORAGE_ERROR
        assert fetch(client, "b" if broken == "a" else "a")[0] == OK
    assert f"the data directory {tmp_path}/y is offline: Input/output error" in errors(caplog)


def test_without_any_directory_the_broker_stops(tmp_path: Path, disk: Any) -> None:
    broker = KafkaBroker(data_dir=tmp_path).start()
    with connect(broker) as client:
        create(client, "t")
        with disk.failing("pwrite", errno.EIO, tmp_path / "t-0"):
            assert produce(client, "t")[0] == STORAGE_ERROR
            with pytest.raises(StorageLost, match=f"all data directories are offline, the last one {tmp_path}: Input"):
                broker.stop()


@pytest.mark.slow
def test_a_process_without_any_directory_ends_with_status_1(tmp_path: Path) -> None:
    said = (tmp_path / "stderr").open("w+")
    with said, BrokerProcess(data_dir=tmp_path / "data", stderr=said) as broker, connect(broker) as client:
        create(client, "t")
        # A file size limit is what an ordinary user can break a disk with: EFBIG isn't an error that passes.
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
        assert produce(client, "t", b"x" * 200_000)[0] == STORAGE_ERROR
        assert broker.wait() == 1
        said.seek(0)
        last = said.read().splitlines()[-1]
    assert last == f"pykbroker: all data directories are offline, the last one {tmp_path}/data: File too large"


def test_a_read_that_fails(tmp_path: Path, disk: Any) -> None:
    config = {"log.dirs": f"{tmp_path}/x,{tmp_path}/y"}
    with KafkaBroker(data_dir=tmp_path / "x", config=config) as broker, connect(broker) as client:
        for name in ("a", "b"):
            create(client, name)
            for _ in range(2):
                produce(client, name)
        broken = next((tmp_path / "y").glob("[ab]-0")).name[0]
        with disk.failing("pread", errno.EIO, tmp_path / "y", ".log"):
            assert fetch(client, broken)[0] == STORAGE_ERROR
        assert produce(client, broken)[0] == STORAGE_ERROR
        assert produce(client, "b" if broken == "a" else "a") == (OK, 2)


@pytest.mark.slow
def test_connections_that_use_up_the_descriptors(tmp_path: Path) -> None:
    with BrokerProcess(data_dir=tmp_path) as broker, connect(broker) as client:
        for name in ("a", "b"):
            create(client, name)
            assert produce(client, name) == (OK, 0)
        limit = len(list(Path(f"/proc/{broker.pid}/fd").iterdir())) + 20
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (limit, limit))
        with ExitStack() as crowd:
            for _ in range(40):
                crowd.enter_context(socket.create_connection((broker.host, broker.port)))
            for name, acks in (("a", -1), ("b", 1)):
                assert produce(client, name, acks=acks) == (OK, 1)  # from a descriptor that was kept for this
            assert create(client, "c") in (OK, STORAGE_ERROR)
            assert produce(client, "a") == (OK, 2)
        while (code := create(client, "d")) != OK:
            assert code == STORAGE_ERROR
        assert produce(client, "d") == (OK, 0)
        assert fetch(client, "a") == (OK, [b"v"] * 3)
        assert broker.stop() == 0


# -- flush.messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("acks", [1, -1])
def test_flush_messages_1_is_on_the_disk_before_the_answer(tmp_path: Path, disk: Any, acks: int) -> None:
    with KafkaBroker(data_dir=tmp_path) as broker, connect(broker) as client:
        create(client, "t", **{"flush.messages": "1"})
        disk.watched = str(tmp_path / "t-0")
        for offset in range(3):
            assert produce(client, "t", acks=acks) == (OK, offset)
            assert disk.calls["fsync"] > 0
            disk.calls.clear()
        assert len(fetch(client, "t")[1]) == 3


@pytest.mark.parametrize("acks", [1, -1])
def test_what_cannot_be_flushed_is_neither_acknowledged_nor_shown(tmp_path: Path, disk: Any, acks: int) -> None:
    config = {"log.dirs": f"{tmp_path}/x,{tmp_path}/y"}
    with KafkaBroker(data_dir=tmp_path / "x", config=config) as broker, connect(broker) as client:
        create(client, "a", **{"flush.messages": "1"})
        create(client, "b", **{"flush.messages": "1"})
        broken = next((tmp_path / "y").glob("[ab]-0")).name[0]
        with disk.failing("fsync", errno.EIO, tmp_path / "y"):
            assert produce(client, broken, acks=acks)[0] == STORAGE_ERROR
        assert fetch(client, broken)[0] == STORAGE_ERROR
        assert produce(client, "b" if broken == "a" else "a", acks=acks) == (OK, 0)


def test_a_flush_without_room_is_tried_again(tmp_path: Path, disk: Any) -> None:
    with KafkaBroker(data_dir=tmp_path) as broker, connect(broker) as client:
        create(client, "t", **{"flush.messages": "1", "index.interval.bytes": "0"})
        assert produce(client, "t", b"1") == (OK, 0)
        with disk.failing("pwrite", errno.ENOSPC, tmp_path / "t-0", ".index"):
            assert produce(client, "t", b"2")[0] == STORAGE_ERROR
            assert fetch(client, "t") == (OK, [b"1"])
        assert produce(client, "t", b"3") == (OK, 2)
        assert fetch(client, "t") == (OK, [b"1", b"2", b"3"])


# -- a real full disk --------------------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a file system can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.slow
def test_a_broker_stops_on_a_disk_that_is_full_to_the_last_byte(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with small_disk(data, "4m"):
        with KafkaBroker(data_dir=data) as broker, connect(broker) as client:
            create(client, "t")
            assert produce(client, "t", b"kept") == (OK, 0)
            fill_up(data / "fill")
        (data / "fill").unlink()
        with KafkaBroker(data_dir=data) as broker, connect(broker) as client:
            assert fetch(client, "t") == (OK, [b"kept"])
            assert produce(client, "t", b"more") == (OK, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.slow
def test_a_disk_that_fills_up_and_gets_room_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with small_disk(data, "8m"):
        acknowledged = []
        with KafkaBroker(data_dir=data, config={"log.segment.bytes": 1 << 20}) as broker, connect(broker) as client:
            create(client, "t", **{"file.delete.delay.ms": "0", "retention.ms": "-1"})
            refused = 0
            for number in range(40):
                value = b"%d" % number * 300_000
                code, offset = produce(client, "t", value)
                if code == OK:
                    acknowledged.append((offset, value))
                else:
                    assert code == STORAGE_ERROR
                    refused += 1
            assert refused > 5
            assert len(acknowledged) > 10
            for offset, value in acknowledged:
                assert fetch(client, "t", offset)[1][0] == value
            partition = DeleteRecordsRequest.Topic.Partition(partition_index=0, offset=acknowledged[8][0])
            client.request(
                DeleteRecordsRequest(topics=[DeleteRecordsRequest.Topic(name="t", partitions=[partition])]), 2
            )
            broker.run_retention()
            code, offset = produce(client, "t", b"room")
            assert code == OK
            acknowledged.append((offset, b"room"))
        with KafkaBroker(data_dir=data) as broker, connect(broker) as client:
            for offset, value in acknowledged[8:]:
                assert fetch(client, "t", offset)[1][0] == value
