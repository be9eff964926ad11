from pathlib import Path
from uuid import UUID

import pytest

from pykbroker.storage.checkpoints import CheckpointFormatError
from pykbroker.storage.meta_properties import (
    MetaProperties,
    read_meta_properties,
    read_topic_id,
    write_meta_properties,
    write_topic_id,
)

TOPIC_ID = UUID("7e2f1e0a-5b1a-4c53-9d2b-1f3b5c7d9e0f")


def test_format(tmp_path: Path) -> None:
    meta = MetaProperties(3, "AbCdEfGhIjKlMnOpQrStUv", {"directory.id": "x"})
    write_meta_properties(str(tmp_path), meta)
    lines = (tmp_path / "meta.properties").read_text().splitlines()
    assert lines == ["#", "version=0", "broker.id=3", "cluster.id=AbCdEfGhIjKlMnOpQrStUv", "directory.id=x"]
    assert read_meta_properties(str(tmp_path)) == meta


def test_missing(tmp_path: Path) -> None:
    assert read_meta_properties(str(tmp_path)) is None
    assert read_topic_id(str(tmp_path)) is None


def test_written_by_kafka_in_kraft_mode(tmp_path: Path) -> None:
    (tmp_path / "meta.properties").write_text("#\n#Sat Nov 11\nnode.id=7\nversion=1\ncluster.id=c\n")
    assert read_meta_properties(str(tmp_path)) == MetaProperties(7, "c", {})


@pytest.mark.parametrize("content", [b"broker.id=1\n", b"version=9\n", b"version=0\nbroker.id=one\n", b"\xff"])
def test_bad_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "meta.properties").write_bytes(content)
    with pytest.raises(CheckpointFormatError, match=r"meta\.properties"):
        read_meta_properties(str(tmp_path))


def test_topic_id(tmp_path: Path) -> None:
    write_topic_id(str(tmp_path), TOPIC_ID)
    text = (tmp_path / "partition.metadata").read_text()
    assert text == "version: 0\ntopic_id: fi8eClsaTFOdKx87XH2eDw"
    assert read_topic_id(str(tmp_path)) == TOPIC_ID


def test_bad_topic_id(tmp_path: Path) -> None:
    (tmp_path / "partition.metadata").write_text("version: 0\ntopic_id: short")
    with pytest.raises(CheckpointFormatError, match="no topic id"):
        read_topic_id(str(tmp_path))
