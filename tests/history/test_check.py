"""The checker sees what it is there for: a good history passes, and each kind of damage is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.history.check import check
from tests.history.clients import PARTITIONS, History
from tests.history.faults import BROKERS, TOPIC

from pykbroker.protocol.records.batch import build_batch


def stored(*values: bytes) -> bytes:
    return build_batch([(None, value) for value in values], timestamp=1)


def write(folder: Path, broker: int, data: bytes) -> None:
    for partition in range(PARTITIONS):
        directory = folder / f"broker-{broker}" / f"{TOPIC}-{partition}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{0:020d}.log").write_bytes(data if partition == 0 else b"")


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Two records, acknowledged and read, the same on every broker."""
    for broker in BROKERS:
        write(tmp_path, broker, stored(b"0:0", b"0:4"))
    made = History()
    made.acknowledged = {b"0:0": (0, 0), b"0:4": (0, 1)}
    made.read = {(0, 0): b"0:0", (0, 1): b"0:4"}
    return made


def test_an_acknowledgement_without_an_offset(history: History, tmp_path: Path) -> None:
    history.acknowledged[b"0:4"] = 0, None
    check(history, tmp_path)
    assert history.wrong == []
    history.acknowledged[b"0:8"] = 0, None
    check(history, tmp_path)
    assert history.wrong == ["b'0:8' was acknowledged at (0, None) and is at []"]


def all_brokers(data: bytes) -> Callable[[Path, History], None]:
    def damage(folder: Path, history: History) -> None:
        for broker in BROKERS:
            write(folder, broker, data)

    return damage


def one_broker(folder: Path, history: History) -> None:
    write(folder, 2, stored(b"0:0"))


def phantom(folder: Path, history: History) -> None:
    history.read[0, 2] = b"0:8"


def test_a_good_history(history: History, tmp_path: Path) -> None:
    check(history, tmp_path)
    assert history.wrong == []


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (all_brokers(stored(b"0:0")), "b'0:4' was acknowledged at (0, 1) and is at []"),
        (all_brokers(stored(b"0:0", b"0:4", b"0:0")), "b'0:0' is there twice"),
        (all_brokers(stored(b"0:4", b"0:0")), "stands behind 4 of its producer"),
        (all_brokers(stored(b"0:0", b"1:4")), "was read as b'0:4' and is b'1:4'"),
        (one_broker, "the replicas of partition 0 differ"),
        (phantom, "b'0:8' was read at (0, 2) and is at []"),
    ],
)
def test_damage_is_named(history: History, tmp_path: Path, damage: Callable[[Path, History], None], what: str) -> None:
    damage(tmp_path, history)
    check(history, tmp_path)
    assert any(what in sentence for sentence in history.wrong), history.wrong


def of_producer(epoch: int, *values: bytes) -> bytes:
    return build_batch([(None, value) for value in values], timestamp=1, producer_id=7, producer_epoch=epoch)


@pytest.fixture
def sent_again(history: History, tmp_path: Path) -> History:
    """Two unacknowledged records under epoch 0 that came again under epoch 1."""
    for broker in BROKERS:
        first, second = of_producer(0, b"0:0", b"0:4"), bytearray(of_producer(1, b"0:0", b"0:4"))
        second[:8] = (2).to_bytes(8, "big")
        write(tmp_path, broker, first + bytes(second))
    history.acknowledged = {b"0:0": (0, 2), b"0:4": (0, 3)}
    history.read |= {(0, 2): b"0:0", (0, 3): b"0:4"}
    (tmp_path / "writer-0.log").write_text(f"DRAIN {NEW_EPOCH}\n")
    return history


NEW_EPOCH = (
    "Beginning partition drain in state Assigned for PID{Id:7,Epoch:0} epoch bump for 2 partition(s) with in-flight "
    "requests: skipped sequence numbers"
)


def test_what_the_client_sent_under_a_new_epoch_is_counted(sent_again: History, tmp_path: Path) -> None:
    check(sent_again, tmp_path)
    assert sent_again.wrong == []
    assert sent_again.again == 2


def test_without_the_client_s_own_word_it_is_wrong(sent_again: History, tmp_path: Path) -> None:
    (tmp_path / "writer-0.log").unlink()
    check(sent_again, tmp_path)
    assert any("b'0:0' is there twice" in sentence for sentence in sent_again.wrong)


def test_what_was_acknowledged_must_not_come_again(sent_again: History, tmp_path: Path) -> None:
    sent_again.acknowledged[b"0:4"] = 0, 1
    check(sent_again, tmp_path)
    assert any("b'0:4' is there twice" in sentence for sentence in sent_again.wrong)
