import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykbroker.storage.checkpoints import CheckpointFormatError
from pykbroker.storage.leader_epochs import LeaderEpochs


def epochs(directory: Path, *entries: tuple[int, int]) -> LeaderEpochs:
    made = LeaderEpochs(str(directory))
    for epoch, start in entries:
        made.assign(epoch, start)
    return made


def test_file(tmp_path: Path) -> None:
    made = epochs(tmp_path, (0, 0), (2, 10))
    made.flush()
    assert (tmp_path / "leader-epoch-checkpoint").read_text() == "0\n2\n0 0\n2 10\n"
    again = LeaderEpochs(str(tmp_path))
    again.load()
    assert again.entries == [(0, 0), (2, 10)]
    assert again.latest == 2


def test_a_flush_while_the_file_is_replaced_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, original, synced = epochs(tmp_path, (0, 0)), os.replace, []
    monkeypatch.setattr("pykbroker.storage.leader_epochs.sync_path", lambda path: synced.append(Path(path).read_text()))

    def replace(source: str, target: str) -> None:
        made.flush()
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    made.assign(1, 5)
    made.flush()
    assert synced[-1] == "0\n2\n0 0\n1 5\n"


@pytest.mark.parametrize("lines", ["2 0\n1 5", "1 5\n2 5", "1 x\n2 6"])
def test_bad_file(tmp_path: Path, lines: str) -> None:
    (tmp_path / "leader-epoch-checkpoint").write_text(f"0\n2\n{lines}\n")
    with pytest.raises(CheckpointFormatError):
        LeaderEpochs(str(tmp_path)).load()


def test_assign(tmp_path: Path) -> None:
    made = epochs(tmp_path, (1, 0), (1, 5), (3, 10), (2, 20))
    assert made.entries == [(1, 0), (3, 10)]
    made.assign(4, 5)  # entries that begin at or after a new epoch's start are gone
    assert made.entries == [(1, 0), (4, 5)]
    made.assign(-1, 30)
    assert made.latest == 4
    made.clear()
    assert made.latest is None


def test_end_offsets(tmp_path: Path) -> None:
    made = epochs(tmp_path, (2, 10), (5, 20), (7, 30))
    assert made.end_offset(7, 44) == (7, 44)
    assert made.end_offset(8, 44) == (-1, -1)
    assert made.end_offset(-1, 44) == (-1, -1)
    assert made.end_offset(1, 44) == (1, 10)
    assert made.end_offset(2, 44) == (2, 20)
    assert made.end_offset(4, 44) == (2, 20)
    assert made.end_offset(6, 44) == (5, 30)
    assert LeaderEpochs(str(tmp_path)).end_offset(0, 44) == (-1, -1)


def test_epoch_at(tmp_path: Path) -> None:
    made = epochs(tmp_path, (2, 10), (5, 20))
    assert [made.epoch_at(offset) for offset in (9, 10, 19, 20, 99)] == [-1, 2, 2, 5, 5]


def test_truncation(tmp_path: Path) -> None:
    made = epochs(tmp_path, (2, 10), (5, 20), (7, 30))
    made.truncate_from_end(30)
    assert made.entries == [(2, 10), (5, 20)]
    made.truncate_from_start(15)
    assert made.entries == [(2, 15), (5, 20)]
    made.truncate_from_start(20)
    assert made.entries == [(5, 20)]
    made.truncate_from_start(1)
    assert made.entries == [(5, 20)]


def reloaded(directory: Path, end: int) -> LeaderEpochs:
    made = LeaderEpochs(str(directory))
    made.load()
    made.loaded(end)
    return made


def test_an_epoch_without_records_is_forgotten_before_the_file_forgets_it(tmp_path: Path) -> None:
    epochs(tmp_path, (2, 10), (5, 20))
    file = tmp_path / "leader-epoch-checkpoint"
    written = file.read_text()
    made = reloaded(tmp_path, 20)
    assert (made.entries, made.latest, file.read_text()) == ([(2, 10)], 2, written)
    assert reloaded(tmp_path, 20).entries == [(2, 10)]


@pytest.mark.parametrize(("epoch", "left"), [(2, "1\n2 10"), (-1, "1\n2 10"), (6, "2\n2 10\n6 20")])
def test_the_file_forgets_it_before_anything_is_appended(tmp_path: Path, epoch: int, left: str) -> None:
    """Else records of an older epoch would seem to be of that one."""
    epochs(tmp_path, (2, 10), (5, 20))
    reloaded(tmp_path, 20).assign(epoch, 20)
    assert (tmp_path / "leader-epoch-checkpoint").read_text() == f"0\n{left}\n"


def test_the_file_is_emptied_with_the_log(tmp_path: Path) -> None:
    epochs(tmp_path, (5, 20))
    reloaded(tmp_path, 20).clear()
    assert (tmp_path / "leader-epoch-checkpoint").read_text() == "0\n0\n"


def test_epochs_beyond_the_logs_end_are_forgotten_at_once(tmp_path: Path) -> None:
    epochs(tmp_path, (2, 10), (5, 20), (6, 30))
    assert reloaded(tmp_path, 15).entries == [(2, 10)]
    assert (tmp_path / "leader-epoch-checkpoint").read_text() == "0\n1\n2 10\n"


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 30)), max_size=12))
def test_both_columns_always_ascend(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]) -> None:
    made = epochs(tmp_path_factory.getbasetemp(), *changes)
    for earlier, later in zip(made.entries, made.entries[1:], strict=False):
        assert earlier[0] < later[0]
        assert earlier[1] < later[1]
