"""A broker's life: what survives a stop and a kill, what is said when it can't start, how it stops."""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from pykbroker.broker import StartupError
from pykbroker.client.connection import open_connection
from pykbroker.client.settings import ClientSettings, SaslSettings, TlsSettings
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.delete_topics import DeleteTopicsRequest
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.messages.metadata import MetadataRequest, MetadataResponse
from pykbroker.protocol.messages.offset_commit import OffsetCommitRequest
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.testing import KafkaBroker, open_kafka_broker
from pykbroker.testing.client import WireClient
from pykbroker.testing.process import BrokerProcess


def connect(broker: KafkaBroker | BrokerProcess) -> WireClient:
    return WireClient(broker.host, broker.port)


def create(client: WireClient, name: str, partitions: int = 1) -> int:
    topic = CreateTopicsRequest.Topic(name=name, num_partitions=partitions, replication_factor=1)
    return client.request(CreateTopicsRequest(topics=[topic], timeout_ms=5000), 7).topics[0].error_code


def delete(client: WireClient, name: str) -> int:
    topic = DeleteTopicsRequest.Topic(name=name)
    return client.request(DeleteTopicsRequest(topics=[topic], timeout_ms=5000), 6).responses[0].error_code


def produce(client: WireClient, topic: str, *values: bytes) -> int:
    batch = build_batch([(None, value) for value in values], timestamp=1)
    data = ProduceRequest.TopicData(
        name=topic, partition_data=[ProduceRequest.TopicData.PartitionData(index=0, records=batch)]
    )
    answer = client.request(ProduceRequest(acks=-1, timeout_ms=5000, topic_data=[data]), 9)
    partition = answer.responses[0].partition_responses[0]
    assert partition.error_code == ErrorCode.NONE
    return partition.base_offset


def consume(client: WireClient, topic: str, offset: int = 0) -> list[bytes | None]:
    partition = FetchRequest.Topic.Partition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 20)
    asked = FetchRequest.Topic(topic=topic, partitions=[partition])
    answer = client.request(FetchRequest(max_bytes=1 << 20, topics=[asked]), 12)
    found = answer.responses[0].partitions[0]
    assert found.error_code == ErrorCode.NONE
    return [record.value for batch in batches(found.records) for record in batch.records() if record.offset >= offset]


def metadata(client: WireClient, *names: str) -> MetadataResponse:
    topics = [MetadataRequest.Topic(name=name) for name in names]
    return client.request(MetadataRequest(topics=topics, allow_auto_topic_creation=False), 12)


def commit(client: WireClient, group: str, topic: str, offset: int) -> int:
    assert client.request(FindCoordinatorRequest(key=group), 2).error_code == ErrorCode.NONE
    partition = OffsetCommitRequest.Topic.Partition(committed_offset=offset)
    asked = OffsetCommitRequest.Topic(name=topic, partitions=[partition])
    answer = client.request(OffsetCommitRequest(group_id=group, topics=[asked]), 7)
    return answer.topics[0].partitions[0].error_code


def committed(client: WireClient, group: str, topic: str) -> int:
    assert client.request(FindCoordinatorRequest(key=group), 2).error_code == ErrorCode.NONE
    asked = OffsetFetchRequest.Topic(name=topic, partition_indexes=[0])
    answer = client.request(OffsetFetchRequest(group_id=group, topics=[asked]), 5)
    return answer.topics[0].partitions[0].committed_offset


def test_a_stop_and_a_start_keep_topics_records_and_offsets(tmp_path: Path) -> None:
    with KafkaBroker(data_dir=tmp_path) as first, connect(first) as client:
        assert create(client, "kept", 3) == ErrorCode.NONE
        assert produce(client, "kept", b"a", b"b") == 0
        assert commit(client, "g", "kept", 1) == ErrorCode.NONE
        before = metadata(client, "kept")
    assert (tmp_path / ".kafka_cleanshutdown").exists()
    with KafkaBroker(data_dir=tmp_path) as second, connect(second) as client:
        assert not (tmp_path / ".kafka_cleanshutdown").exists()
        after = metadata(client, "kept")
        assert (after.cluster_id, after.topics[0].topic_id) == (before.cluster_id, before.topics[0].topic_id)
        assert len(after.topics[0].partitions) == 3
        assert consume(client, "kept") == [b"a", b"b"]
        assert committed(client, "g", "kept") == 1
        assert produce(client, "kept", b"c") == 2


@pytest.mark.slow
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with BrokerProcess(data_dir=tmp_path) as broker, connect(broker) as client:
        create(client, "kept")
        produce(client, "kept", b"a", b"b")
        commit(client, "g", "kept", 2)
        first_id = client.request(InitProducerIdRequest(transactional_id=None), 4).producer_id
        broker.kill()
    with BrokerProcess(data_dir=tmp_path) as broker, connect(broker) as client:
        assert consume(client, "kept") == [b"a", b"b"]
        assert committed(client, "g", "kept") == 2
        assert client.request(InitProducerIdRequest(transactional_id=None), 4).producer_id > first_id
        assert broker.stop() == 0


def test_a_torn_tail_is_cut_and_overwritten(tmp_path: Path) -> None:
    with KafkaBroker(data_dir=tmp_path) as first, connect(first) as client:
        create(client, "torn")
        produce(client, "torn", b"whole")
    (tmp_path / ".kafka_cleanshutdown").unlink()
    segment = tmp_path / "torn-0" / "00000000000000000000.log"
    whole = segment.read_bytes()
    segment.write_bytes(whole + whole[:40])
    with KafkaBroker(data_dir=tmp_path) as second, connect(second) as client:
        assert segment.read_bytes() == whole
        assert produce(client, "torn", b"next") == 1
        assert consume(client, "torn") == [b"whole", b"next"]


def test_a_topic_made_again_is_new(tmp_path: Path) -> None:
    with KafkaBroker(data_dir=tmp_path) as broker, connect(broker) as client:
        create(client, "again")
        produce(client, "again", b"old")
        commit(client, "g", "again", 1)
        old = metadata(client, "again").topics[0].topic_id
        assert delete(client, "again") == ErrorCode.NONE
        assert not list(tmp_path.glob("again-*"))
        assert metadata(client, "again").topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert create(client, "again") == ErrorCode.NONE
        assert metadata(client, "again").topics[0].topic_id != old
        assert consume(client, "again") == []
        assert committed(client, "g", "again") == -1


def test_a_log_that_belongs_to_no_topic_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with KafkaBroker(data_dir=tmp_path) as first, connect(first) as client:
        create(client, "t")
        produce(client, "t", b"a")
    (tmp_path / "t-0").rename(tmp_path / "t-7")
    with KafkaBroker(data_dir=tmp_path) as second, connect(second) as client:
        assert consume(client, "t") == []
    assert [path.name for path in tmp_path.glob("t-7.*-stray")]
    assert "t-7 belongs to no topic" in caplog.text


def test_a_directory_that_another_broker_holds(tmp_path: Path) -> None:
    with (
        KafkaBroker(data_dir=tmp_path) as holder,
        pytest.raises(StartupError, match=f"{tmp_path} is in use by another broker"),
    ):
        KafkaBroker(data_dir=tmp_path).start()
    assert holder.port


def test_a_directory_of_another_node(tmp_path: Path) -> None:
    KafkaBroker(data_dir=tmp_path, config={"node.id": 3}).start().stop()
    with pytest.raises(StartupError, match="belongs to node 3, not 1: start with --node-id 3"):
        KafkaBroker(data_dir=tmp_path).start()


def test_a_port_in_use_is_said_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"can't listen on 127.0.0.1:{port}: the port is in use"):
            KafkaBroker(data_dir=tmp_path, port=port).start()
    KafkaBroker(data_dir=tmp_path, port=port).start().stop()


def test_a_broken_metadata_store_is_said(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(StartupError, match=r"metadata\.db"):
        KafkaBroker(data_dir=tmp_path).start()


def test_an_ephemeral_broker_leaves_nothing() -> None:
    broker = KafkaBroker()
    for _ in range(3):
        with broker, connect(broker) as client:
            create(client, "gone")
            folder = Path(broker.data_dir)
            assert (folder / "gone-0").is_dir()
        assert not folder.exists()


def test_a_stopped_broker_can_be_started_again_and_stopped_twice(tmp_path: Path) -> None:
    broker = KafkaBroker(data_dir=tmp_path)
    broker.stop()
    broker.start()
    broker.stop()
    broker.stop()
    with broker, connect(broker) as client:
        assert metadata(client).brokers[0].port == broker.port


def test_a_config_may_name_the_directory(tmp_path: Path) -> None:
    with KafkaBroker(config={"log.dirs": tmp_path}) as broker:
        assert broker.data_dir == str(tmp_path)
    assert (tmp_path / ".kafka_cleanshutdown").exists()


def test_a_broker_that_is_started_again_has_its_port_again(tmp_path: Path) -> None:
    broker = KafkaBroker(data_dir=tmp_path)
    assert repr(broker) == "<KafkaBroker not started>"
    with broker:
        port = broker.port
        with connect(broker) as client:
            create(client, "kept")
            produce(client, "kept", b"a")
        broker.kill()
        assert not (tmp_path / ".kafka_cleanshutdown").exists()
        broker.start()
        assert repr(broker) == f"<KafkaBroker 127.0.0.1:{port}>"
        with connect(broker) as client:
            assert consume(client, "kept") == [b"a"]


@pytest.mark.parametrize("how", [KafkaBroker.stop, KafkaBroker.kill])
def test_a_forked_child_of_a_test_holds_nothing_of_its_broker(
    tmp_path: Path, how: Callable[[KafkaBroker], None]
) -> None:
    waits, says = os.pipe()
    with KafkaBroker(data_dir=tmp_path) as broker, connect(broker) as client:
        metadata(client)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # multiprocessing forks so, too; Python 3.12 warns of the threads.
            child = os.fork()
        if child == 0:
            os.read(waits, 1)
            os._exit(0)
        try:
            how(broker)
            with pytest.raises(ConnectionError):
                metadata(client)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((broker.host, broker.port))
            broker.start()
        finally:
            os.write(says, b".")
            os.waitpid(child, 0)
            os.close(waits)
            os.close(says)


@pytest.mark.slow
def test_a_process_that_is_started_again_has_its_port_again(tmp_path: Path) -> None:
    with BrokerProcess(data_dir=tmp_path) as broker:
        port = broker.port
        broker.kill()
        assert broker.start().port == port


@pytest.mark.slow
def test_a_terminal_that_is_closed_is_a_request_to_stop(tmp_path: Path) -> None:
    with BrokerProcess(data_dir=tmp_path) as broker:
        os.kill(broker.pid, signal.SIGHUP)
        assert broker.wait() == 0
    assert (tmp_path / ".kafka_cleanshutdown").exists()


def test_a_misspelt_config_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"unknown config num\.partitons: did you mean num\.partitions\?"):
        KafkaBroker(config={"num.partitons": 3})


def test_certificates_want_trustme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(StartupError, match=r"tls=True needs trustme: pip install trustme"):
        KafkaBroker(tls=True)


async def test_in_a_trio_program() -> None:
    async with open_kafka_broker(config={"num.partitions": 2}) as broker:

        def talk() -> int:
            with WireClient(broker.host, broker.port) as client:
                topics = [MetadataRequest.Topic(name="made")]
                return len(client.request(MetadataRequest(topics=topics), 12).topics[0].partitions)

        assert await trio.to_thread.run_sync(talk) == 2


async def test_in_a_trio_program_with_users_and_tls() -> None:
    async with open_kafka_broker(users={"alice": "secret"}, tls=True) as broker:
        tls = TlsSettings(ca=broker.tls.ca_file)
        settings = ClientSettings(tls=tls, sasl=SaslSettings(user="alice", password="secret"))
        connection = await open_connection((broker.host, broker.port), settings)
        assert connection.versions
        await connection.aclose()


async def test_in_a_trio_program_what_fails_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_kafka_broker():
            raise ZeroDivisionError


async def test_in_a_trio_program_a_start_that_fails_is_one_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartupError):
        async with open_kafka_broker(port=taken.getsockname()[1]):
            pass


def test_a_broker_that_runs_is_not_started_twice() -> None:
    with KafkaBroker() as broker:
        with pytest.raises(StartupError, match="runs already"):
            broker.start()
        with connect(broker) as client:
            assert create(client, "t") == ErrorCode.NONE
