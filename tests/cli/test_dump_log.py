"""Both commands' words, output and exit status. What Apache Kafka's tool prints stands in tests/verified."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pykbroker.cli import main
from pykbroker.config.topic import LogConfig
from pykbroker.protocol.records.batch import build_batch
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.log import UnifiedLog

NOW = 1_700_000_000_000
Command = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: object) -> tuple[int, list[str], str]:
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    directory = tmp_path / "t-0"
    log = UnifiedLog.create(TopicPartition("t", 0), str(directory), LogConfig(index_interval_bytes=0), None, NOW)
    for number in range(3):
        log.append_as_leader(build_batch([(b"k", b"v%d" % number)], timestamp=NOW + number), 4, NOW)
    log.close()
    return directory


@pytest.fixture
def stem(folder: Path) -> str:
    return str(folder / ("0" * 20))


def test_batches_alone(command: Command, stem: str) -> None:
    status, lines, _ = command("dump-log", stem + ".log")
    assert status == 0
    assert lines[:2] == [f"Dumping {stem}.log", "Log starting offset: 0"]
    assert lines[2].startswith("baseOffset: 0 lastOffset: 0 count: 1 baseSequence: -1 lastSequence: -1 producerId: -1")
    assert lines[2].endswith("isvalid: true")
    assert len(lines) == 5


def test_records(command: Command, stem: str) -> None:
    deep = command("dump-log", "--deep-iteration", stem + ".log")[1]
    assert deep[3] == f"| offset: 0 CreateTime: {NOW} keySize: 1 valueSize: 2 sequence: -1 headerKeys: []"
    printed = command("dump-log", "--print-data-log", "--files", stem + ".log")[1]
    assert printed[3] == deep[3] + " key: k payload: v0"
    assert (
        command("dump-log", "--print-data-log", "--skip-record-metadata", stem + ".log")[1][3] == "| key: k payload: v0"
    )


def test_a_limit(command: Command, stem: str) -> None:
    assert len(command("dump-log", "--max-bytes", 150, stem + ".log")[1]) == 4


def test_indexes_and_checkpoints(command: Command, folder: Path, stem: str) -> None:
    status, lines, _ = command("dump-log", stem + ".index", stem + ".timeindex", folder / "leader-epoch-checkpoint")
    assert status == 0
    assert "offset: 1 position: 71" in lines
    assert f"timestamp: {NOW + 2} offset: 2" in lines
    assert lines[-1] == "epoch: 4 startOffset: 0"
    assert command("dump-log", "--index-sanity-check", stem + ".index")[1][1] == f"{stem}.index passed sanity check."


def test_damage_is_told_and_makes_the_status_1(command: Command, stem: str) -> None:
    assert command("dump-log", "--verify", *(stem + suffix for suffix in (".log", ".index", ".timeindex")))[0] == 0
    with open(stem + ".log", "r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    status, lines, errors = command("dump-log", stem + ".log")
    assert (status, lines[3].endswith("isvalid: false")) == (1, True)
    assert errors.startswith(f"{stem}.log:71: Record is corrupt")
    with open(stem + ".index", "r+b") as file:
        file.write(b"\0\0\0\1\0\0\0\1")
    status, lines, errors = command("dump-log", "--verify", stem + ".index")
    assert (status, len(lines)) == (1, 1)
    assert errors == f"{stem}.index:0: no batch begins at position 1, where offset 1 is said to be\n"


def test_a_torn_tail(command: Command, stem: str) -> None:
    with open(stem + ".log", "ab") as file:
        file.write(bytes(20))
    status, lines, errors = command("dump-log", stem + ".log")
    assert (status, lines[-1]) == (1, f"Found 20 invalid bytes at the end of {'0' * 20}.log")
    assert "213: A batch length of 0" in errors


def test_files_that_are_not_there_or_nothing_known(command: Command, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert command("dump-log", tmp_path / "x")[2] == f"Ignoring unknown file {tmp_path / 'x'}\n"
    assert "Is a directory: name its files" in command("dump-log", tmp_path)[2]
    for name in ("none.log", "0" * 20 + ".log", "0" * 20 + ".index", "0" * 20 + ".snapshot", "leader-epoch-checkpoint"):
        status, _, errors = command("dump-log", tmp_path / name)
        assert (status, errors) == (2, f"pykbroker dump-log: {tmp_path / name}: No such file or directory\n")
    with pytest.raises(SystemExit, match="2"):
        main(["dump-log"])


def test_verify(command: Command, folder: Path) -> None:
    data = folder.parent
    (data / "meta.properties").write_text("version=0\nbroker.id=1\ncluster.id=c\n")
    assert command("verify", data) == (0, [f"{data}: as it must be"], "")
    with open(folder / ("0" * 20 + ".log"), "r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    status, lines, _ = command("verify", data)
    assert status == 1
    assert lines[0].startswith(f"{folder}/{'0' * 20}.log:71: Record is corrupt (stored crc")
    status, _, errors = command("verify", data / "none")
    assert (status, errors) == (2, f"pykbroker verify: {data / 'none'} is no directory\n")
