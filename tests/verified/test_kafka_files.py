"""Apache Kafka's own tool reads what we wrote as we do, and we read what Apache Kafka wrote."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.verified import apache_kafka

from pykbroker.config.topic import LogConfig
from pykbroker.protocol.records.batch import batches
from pykbroker.protocol.records.record import Record
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_manager import LogManager

Command = Callable[..., tuple[int, str, str]]
PRINTED = {
    "log": ["--print-data-log"],
    "index": [],
    "timeindex": [],
    "txnindex": [],
    "snapshot": [],
}


@pytest.fixture(scope="session")
def kafka() -> None:
    """Skips where Apache Kafka can't be had."""
    try:
        apache_kafka.jars()
    except apache_kafka.Unavailable as reason:
        pytest.skip(str(reason))


def files(folder: Path, suffix: str) -> list[Path]:
    found = sorted(folder.glob(f"*-0/*.{suffix}"))
    assert found, f"no file of the kind {suffix}"
    return found


def without_content_of_old_formats(text: str) -> list[str]:
    """What the two tools print, but for the checksums of messages inside a wrapper, which only one repeats."""
    return [
        line.split(" isValid: ")[0] + (" key: " + line.split(" key: ")[1] if " key: " in line else "")
        if " isValid: " in line
        else line
        for line in text.splitlines()
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("kafka")
@pytest.mark.parametrize("suffix", PRINTED)
def test_kafka_prints_our_files_as_we_do(ours: Path, command: Command, suffix: str) -> None:
    found = files(ours, suffix)
    if suffix == "log":
        found = [path for path in found if not path.parent.name.startswith("__")]
    theirs, complaints = apache_kafka.dump(found, *PRINTED[suffix])
    status, printed, errors = command("dump-log", *PRINTED[suffix], "--files", ",".join(map(str, found)))
    assert status == 0, errors
    assert without_content_of_old_formats(printed) == without_content_of_old_formats(theirs)
    assert "isvalid: false" not in theirs
    if suffix == "log":
        for sign in ("deleteHorizonMs: OptionalLong[", "endTxnMarker: ABORT", "magic: 0", "compresscodec: zstd"):
            assert sign in theirs
    if suffix != "log":
        assert complaints == ""


@pytest.mark.slow
@pytest.mark.usefixtures("kafka")
def test_kafka_decodes_our_offsets_as_we_do(ours: Path, command: Command) -> None:
    found = files(ours / ".", "log")
    found = [path for path in found if path.parent.name.startswith("__consumer")]
    theirs, complaints = apache_kafka.dump(found, "--offsets-decoder")
    assert complaints == ""
    assert command("dump-log", "--offsets-decoder", *found)[:2] == (0, theirs)


@pytest.mark.slow
@pytest.mark.usefixtures("kafka")
@pytest.mark.parametrize("state", ["killed", "clean"])
def test_both_print_kafkas_files_alike(theirs: Path, command: Command, state: str) -> None:
    for suffix, options in PRINTED.items():
        found = files(theirs / state, suffix)
        if state == "killed":
            # Of an index that is preallocated and empty Kafka's tool prints the first zeros.
            found = [
                path for path in found if suffix not in ("index", "timeindex") or path.read_bytes()[:8].strip(b"\0")
            ]
        printed = apache_kafka.dump(found, *options)[0]
        assert command("dump-log", *options, *found)[:2] == (0, printed)
    offsets = sorted((theirs / state / "__consumer_offsets-0").glob("*.log"))
    printed = apache_kafka.dump(offsets, "--offsets-decoder")[0]
    assert command("dump-log", "--offsets-decoder", *offsets)[:2] == (0, printed)
    assert '"protocolType":"consumer"' in printed


def test_what_we_wrote_is_as_it_must_be(ours: Path, command: Command) -> None:
    status, printed, _ = command("verify", "--deep-iteration", ours)
    assert (status, printed) == (0, f"{ours}: as it must be\n")


@pytest.mark.parametrize("state", ["killed", "clean"])
def test_what_kafka_wrote_is_as_it_must_be(theirs: Path, command: Command, state: str) -> None:
    status, printed, _ = command("verify", "--deep-iteration", theirs / state)
    assert (status, printed) == (0, f"{theirs / state}: as it must be\n")


def read_all(log: UnifiedLog) -> list[Record]:
    """Every record as a consumer gets it."""
    offset, found = log.log_start_offset, []
    while True:
        answer = log.read(offset, 1 << 20, upper_bound=log.log_end_offset)
        if answer.records is None:
            return found
        for batch in batches(answer.records.read()):
            batch.check_crc()
            if not batch.is_control:
                found += [record for record in batch.records() if record.offset >= offset]
            offset = batch.last_offset + 1


@pytest.mark.parametrize("state", ["killed", "clean"])
def test_we_load_what_kafka_wrote(theirs: Path, tmp_path: Path, command: Command, state: str) -> None:
    folder = tmp_path / "data"
    shutil.copytree(theirs / state, folder)
    manager = LogManager([folder], LogConfig(segment_bytes=3000, index_interval_bytes=200))
    manager.open()
    logs = {log.topic_partition.topic: log for log in manager}
    assert manager.identity() is not None
    codecs = read_all(logs["codecs"])
    assert [record.offset for record in codecs] == list(range(150 if state == "killed" else 151))
    assert codecs[31].value == b"1-" * 10
    assert codecs[31].headers == (("h", b"1"), ("n", None))
    assert codecs[31].timestamp == 1_700_000_000_001
    assert {record.key: record.value for record in read_all(logs["compacted"])}[b"k1"] == b"197-" * 10
    transactions = logs["transactions"]
    assert len(transactions.aborted_transactions(0, transactions.log_end_offset)) == 4
    assert transactions.first_unstable_offset == transactions.log_end_offset - 1
    assert read_all(transactions)[-1].value == b"open"
    assert [record.offset for record in read_all(logs["trimmed"])][-1] == 59
    ends = {log.topic_partition: log.log_end_offset for log in manager}
    manager.close(ends)
    assert command("verify", folder)[0] == 0
    assert ends[TopicPartition("stamped", 0)] == 3


@pytest.mark.slow
@pytest.mark.usefixtures("kafka")
def test_a_live_kafka(tmp_path: Path, command: Command) -> None:
    """The newest release: what it holds after kill -9 we load, and what we then leave it goes on with."""
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    from tests.verified import make_kafka_data

    topics = {name: {} for name in make_kafka_data.TOPICS}  # this release takes no small segments
    try:
        with apache_kafka.ApacheKafka(tmp_path) as kafka:
            make_kafka_data.write_all(kafka.bootstrap_servers, topics)
            kafka.stop(signal.SIGKILL)
    except apache_kafka.Unavailable as reason:
        pytest.skip(str(reason))
    assert command("verify", kafka.data)[0] == 0
    manager = LogManager([kafka.data], LogConfig())
    manager.open()
    ends = {log.topic_partition: log.log_end_offset for log in manager}
    manager.close(ends)
    assert command("verify", kafka.data)[0] == 0
    with apache_kafka.ApacheKafka(tmp_path) as again:
        assert make_kafka_data.end_offsets(again.bootstrap_servers, list(topics)) == {
            name: ends[TopicPartition(name, 0)] for name in topics
        }
    assert command("verify", kafka.data)[0] == 0
