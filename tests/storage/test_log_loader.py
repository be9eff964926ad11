import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pykbroker.protocol.records.batch import CorruptBatch, batches, build_batch
from pykbroker.protocol.records.message_set import encode_message
from pykbroker.storage.checkpoints import CheckpointFormatError
from pykbroker.storage.log import UnifiedLog

NOW = 1_700_000_000_000
Append = Callable[..., Any]


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def indexes(directory: Path) -> dict[str, bytes]:
    return {name: data for name, data in content(directory).items() if "index" in name}


def fill(log: UnifiedLog, append: Append, count: int = 12, per_segment: int = 4) -> None:
    for place in range(count):
        append(log, b"%d" % place, b"+" * 30, timestamp=NOW + 7 * place % 50, epoch=place // 5)
        if place % per_segment == per_segment - 1 and place < count - 1:
            log.roll(NOW)


@pytest.fixture
def filled(logs: Any, append: Append) -> UnifiedLog:
    """Offsets 0..23 in three segments of four batches, three epochs, small indexes."""
    log: UnifiedLog = logs.create(index_interval_bytes=100)
    fill(log, append)
    return log


@pytest.mark.parametrize("clean", [True, False])
def test_everything_is_there_again(logs: Any, filled: UnifiedLog, read_all: Append, clean: bool) -> None:
    before = read_all(filled)
    log = logs.reopen(filled, clean=clean)
    assert read_all(log) == before
    assert (log.log_start_offset, log.log_end_offset) == (0, 24)
    assert log.epochs.entries == [(0, 0), (1, 10), (2, 20)]
    assert [segment.max_timestamp for segment in log.segments] == [s.max_timestamp for s in filled.segments]
    assert log.recovery_point == (24 if clean else 0)


def test_a_clean_end_leaves_complete_files(logs: Any, filled: UnifiedLog) -> None:
    filled.close()
    before = content(logs.directory)
    assert f"{24:020d}.snapshot" in before
    log = logs.reopen(filled, clean=True)
    log.close()
    assert content(logs.directory) == before


def test_recovery_builds_the_indexes_that_the_writer_had(logs: Any, filled: UnifiedLog) -> None:
    filled.segments[-1].add_time_entry()
    filled.flush()
    expected = indexes(logs.directory)
    assert all(len(data) > 0 for data in expected.values())
    for name in expected:
        (logs.directory / name).write_bytes(b"\xff" * 100)
    log = logs.reopen(filled, clean=False)
    assert indexes(logs.directory) == expected
    log.close()
    assert indexes(logs.directory) == expected


def test_only_segments_from_the_recovery_point_on_are_read_again(logs: Any, filled: UnifiedLog) -> None:
    damage = logs.path(0)
    data = bytearray(damage.read_bytes())
    data[80] ^= 1
    damage.write_bytes(data)
    assert logs.reopen(filled, clean=False, recovery_point=9).log_end_offset == 24
    assert logs.reopen(filled, clean=False, recovery_point=7).log_end_offset == 0


@pytest.mark.parametrize("damage", ["preallocated", "longer", "missing", "cut", "empty"])
@pytest.mark.parametrize("clean", [True, False])
def test_index_files_that_are_not_as_they_should_be(
    logs: Any, filled: UnifiedLog, read_all: Append, damage: str, clean: bool
) -> None:
    before = read_all(filled)
    filled.close()
    expected = indexes(logs.directory)
    for name, data in expected.items():
        path = logs.directory / name
        if damage == "missing":
            path.unlink()
        elif damage == "preallocated":
            path.write_bytes(data + bytes(10 * 1024))
        elif damage == "longer":
            path.write_bytes(data + b"\0\0\1")
        elif damage == "cut":
            path.write_bytes(data[:-3])
        elif not clean:
            path.write_bytes(b"")
    log = logs.reopen(filled, clean=clean)
    assert read_all(log) == before
    assert [record.offset for record in read_all(log, 13)] == list(range(13, 24))
    log.close()
    assert indexes(logs.directory) == expected


def test_a_torn_tail_is_cut_at_every_byte_of_the_last_batch(
    logs: Any, append: Append, read_all: Append, tmp_path: Path
) -> None:
    log = logs.create(index_interval_bytes=0)
    for value in (b"first", b"second"):
        append(log, value)
    whole = log.size
    append(log, b"last" * 5)
    good = logs.directory
    kept = tmp_path / "kept"
    shutil.copytree(good, kept)
    for size in range(whole, log.size):
        shutil.rmtree(good)
        shutil.copytree(kept, good)
        os.truncate(logs.path(0), size)
        recovered = logs.reopen(log, clean=False)
        assert recovered.log_end_offset == 2
        assert logs.path(0).stat().st_size == whole
        assert append(recovered, b"again").first_offset == 2
        assert [record.value for record in read_all(recovered)] == [b"first", b"second", b"again"]


@pytest.mark.parametrize("tail", [bytes(5), bytes(4096), b"\xff" * 300, b"\0" * 11 + b"\x20" + b"\2" * 400])
def test_a_tail_of_zeros_or_garbage_is_cut(logs: Any, filled: UnifiedLog, read_all: Append, tail: bytes) -> None:
    before = read_all(filled)
    with logs.path(16).open("ab") as file:
        file.write(tail)
    log = logs.reopen(filled, clean=False)
    assert read_all(log) == before
    assert logs.path(16).stat().st_size == filled.segments[-1].size


def test_every_changed_byte_of_a_batch_ends_the_log_there(logs: Any, filled: UnifiedLog) -> None:
    path = logs.path(8)
    good = path.read_bytes()
    first, second, *_ = batches(good)
    for place in (*range(first.size + 8, first.size + 12), *range(first.size + 16, first.size + second.size)):
        bad = bytearray(good)
        bad[place] ^= 0x10
        path.write_bytes(bad)
        later = logs.path(16).read_bytes()
        log = logs.reopen(filled, clean=False)
        assert log.log_end_offset == 10, place
        assert [segment.base_offset for segment in log.segments] == [0, 8]
        assert not logs.path(16).exists()
        assert log.epochs.entries == [(0, 0)]
        logs.path(16).write_bytes(later)


def test_offsets_that_do_not_ascend_end_the_log(logs: Any, append: Append) -> None:
    log = logs.create()
    append(log, b"a")
    with logs.path(0).open("ab") as file:
        file.write(build_batch([(None, b"b")], base_offset=0))
    assert logs.reopen(log, clean=False).log_end_offset == 1


def test_nothing_whole_is_left(logs: Any, append: Append) -> None:
    log = logs.create()
    append(log, b"a")
    os.truncate(logs.path(0), 30)
    log = logs.reopen(log, clean=False)
    assert log.log_end_offset == 0
    assert append(log, b"b").first_offset == 0


def test_a_log_that_ends_below_its_checkpointed_start_begins_anew(logs: Any, filled: UnifiedLog) -> None:
    log = logs.reopen(filled, clean=False, log_start_offset=50)
    assert (log.log_start_offset, log.log_end_offset) == (50, 50)
    assert [segment.base_offset for segment in log.segments] == [50]
    assert log.epochs.entries == []


def test_the_checkpointed_start_hides_records(logs: Any, filled: UnifiedLog, read_all: Append) -> None:
    log = logs.reopen(filled, clean=True, log_start_offset=5)
    assert [record.offset for record in read_all(log)] == list(range(5, 24))
    assert log.epochs.entries[0] == (0, 5)


def test_an_empty_directory_is_an_empty_log(logs: Any, append: Append) -> None:
    log = logs.create()
    log.close()
    for path in logs.directory.iterdir():
        path.unlink()
    log = logs.reopen(log, clean=False)
    assert log.log_end_offset == 0
    append(log, b"a")


def test_a_roll_that_was_cut_short(logs: Any, filled: UnifiedLog, read_all: Append, append: Append) -> None:
    before = read_all(filled)
    logs.path(24).touch()  # the new segment's log was made, its indexes weren't
    log = logs.reopen(filled, clean=False)
    assert [segment.base_offset for segment in log.segments] == [0, 8, 16, 24]
    assert read_all(log) == before
    assert append(log, b"x").first_offset == 24


def test_index_files_without_a_log_and_strange_files(logs: Any, filled: UnifiedLog) -> None:
    filled.close()
    (logs.directory / f"{99:020d}.index").write_bytes(b"")
    (logs.directory / f"{99:020d}.timeindex").write_bytes(b"")
    (logs.directory / "notes.txt").write_text("mine")
    logs.reopen(filled, clean=True)
    assert not logs.path(99, "index").exists()
    assert (logs.directory / "notes.txt").exists()


def test_stray_and_later_snapshots_go(logs: Any, filled: UnifiedLog) -> None:
    filled.close()
    good = logs.path(24, "snapshot").read_bytes()
    for offset in (3, 11, 90):
        logs.path(offset, "snapshot").write_bytes(good)
    log = logs.reopen(filled, clean=True)
    assert log.producers.snapshots == [8, 16, 24]
    assert sorted(path.name[:20] for path in logs.directory.glob("*.snapshot")) == [f"{n:020d}" for n in (8, 16, 24)]


def test_a_clean_mark_that_lies(logs: Any, filled: UnifiedLog, read_all: Append) -> None:
    filled.close()
    with logs.path(16).open("ab") as file:
        file.write(b"\1" * 100)
    assert logs.reopen(filled, clean=True).log_end_offset == 24


def test_a_broken_epoch_file_is_an_error(logs: Any, filled: UnifiedLog) -> None:
    filled.close()
    (logs.directory / "leader-epoch-checkpoint").write_text("0\n9\n")
    with pytest.raises(CheckpointFormatError):
        logs.reopen(filled, clean=True)


def test_lost_epochs_come_back_from_the_records(logs: Any, filled: UnifiedLog) -> None:
    filled.close()
    (logs.directory / "leader-epoch-checkpoint").unlink()
    assert logs.reopen(filled, clean=False).epochs.entries == [(0, 0), (1, 10), (2, 20)]


def test_an_epoch_without_records_goes_with_a_torn_tail(logs: Any, filled: UnifiedLog) -> None:
    filled.assign_epoch(9)
    log = logs.reopen(filled, clean=False)
    assert log.latest_epoch == 2


def test_old_message_formats_are_read(logs: Any, read_all: Append) -> None:
    log = logs.create()
    log.close()
    logs.path(0).write_bytes(encode_message(0, 0, -1, b"k", b"v0") + encode_message(1, 1, 77, None, b"v1"))
    for clean in (False, True):
        log = logs.reopen(log, clean=clean)
        assert log.log_end_offset == 2
        assert [(record.offset, record.timestamp, record.value) for record in read_all(log)] == [
            (0, -1, b"v0"),
            (1, 77, b"v1"),
        ]


# -- replacements of segments that a crash interrupted -----------------------------------------------------------


def replacement(logs: Any, suffix: str, *bases: int) -> None:
    """Writes what a cleaner would put in the place of segments: the same log with other contents."""
    for base in bases:
        data = build_batch([(None, b"clean")], base_offset=base, last_offset=base + 7)
        for kind, content in (("log", data), ("index", b""), ("timeindex", b"")):
            logs.path(base, kind + suffix).write_bytes(content)


def test_unfinished_cleaning_is_dropped(logs: Any, filled: UnifiedLog, read_all: Append) -> None:
    before = read_all(filled)
    replacement(logs, ".cleaned", 0)
    replacement(logs, ".swap", 8)  # renamed already, but the set isn't complete
    log = logs.reopen(filled, clean=False)
    assert read_all(log) == before
    assert not list(logs.directory.glob("*.cleaned")) + list(logs.directory.glob("*.swap"))


def test_a_complete_swap_is_finished(logs: Any, filled: UnifiedLog, read_all: Append) -> None:
    replacement(logs, ".swap", 0, 8)
    logs.path(0).rename(logs.path(0, "log.deleted"))
    log = logs.reopen(filled, clean=False)
    assert [record.value for record in read_all(log)][:3] == [b"clean", b"clean", b"8"]
    assert [segment.base_offset for segment in log.segments] == [0, 8, 16]
    assert not list(logs.directory.glob("*.swap")) + list(logs.directory.glob("*.deleted"))


def test_a_swap_of_several_segments_into_one(logs: Any, filled: UnifiedLog, read_all: Append) -> None:
    data = build_batch([(None, b"clean")], base_offset=0, last_offset=15)
    logs.path(0, "log.swap").write_bytes(data)
    log = logs.reopen(filled, clean=False)
    assert [segment.base_offset for segment in log.segments] == [0, 16]
    assert log.log_end_offset == 24


def test_a_read_of_damage_is_corrupt(logs: Any, filled: UnifiedLog) -> None:
    filled.close()
    path = logs.path(0)
    data = bytearray(path.read_bytes())
    data[8:12] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    log = logs.reopen(filled, clean=True)
    with pytest.raises(CorruptBatch):
        log.read(0, 100, upper_bound=24)
    assert log.read(8, 100, upper_bound=24).records is not None
