from pathlib import Path

import pytest

from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.checkpoints import CheckpointFormatError, read_offsets, replace_file, write_offsets

OFFSETS = {TopicPartition("a-b", 0): 12, TopicPartition("c", 3): 2**40}


def test_format(tmp_path: Path) -> None:
    path = tmp_path / "recovery-point-offset-checkpoint"
    write_offsets(str(path), OFFSETS)
    assert path.read_text() == "0\n2\na-b 0 12\nc 3 1099511627776\n"
    assert read_offsets(str(path)) == OFFSETS
    assert not list(tmp_path.glob("*.tmp"))


def test_missing_and_empty_files_hold_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert read_offsets(str(path)) == {}
    path.write_bytes(b"")
    assert read_offsets(str(path)) == {}
    write_offsets(str(path), {})
    assert path.read_text() == "0\n0\n"
    assert read_offsets(str(path)) == {}


@pytest.mark.parametrize(
    "content",
    ["1\n0\n", "0\n", "0\nx\n", "0\n2\na 0 1\n", "0\n0\na 0 1\n", "0\n1\na 0\n", "0\n1\na b 1\n", "0\n1\na 0 x\n"],
)
def test_bad_content(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x"
    path.write_text(content)
    with pytest.raises(CheckpointFormatError, match="x"):
        read_offsets(str(path))


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointFormatError, match="not text"):
        read_offsets(str(path))


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    replace_file(str(path), b"old")
    (tmp_path / "x.tmp").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(str(path), b"new")
    assert path.read_bytes() == b"old"
