import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykbroker.storage.sparse_index import OffsetIndex, TimeIndex


def filled(path: Path, count: int) -> OffsetIndex:
    index = OffsetIndex(str(path))
    index.create()
    for place in range(count):
        index.append(10 * place + 9, 100 * place + 50)
    return index


def test_bytes(tmp_path: Path) -> None:
    index = OffsetIndex(str(tmp_path / "i"))
    index.create()
    index.append(209, 5000)
    index.release()
    assert (tmp_path / "i").read_bytes().hex() == "000000d100001388"
    times = TimeIndex(str(tmp_path / "t"))
    times.create()
    times.append(7, 150)
    times.flush()
    assert (tmp_path / "t").read_bytes().hex() == "000000000000000700000096"


@pytest.mark.parametrize("count", [0, 1, 5, 3000])
@pytest.mark.parametrize("released", [False, True])
def test_floor_in_memory_and_in_the_file(tmp_path: Path, count: int, released: bool) -> None:
    index = filled(tmp_path / "i", count)
    if released:
        index.release()
    assert len(index) == count
    for key in (0, 8, 9, 10, 18, 19, 25, 4999, 5000, 10 * count, 10 * count + 20):
        place = (key - 9) // 10
        expected = (
            None if place < 0 or not count else (10 * min(place, count - 1) + 9, 100 * min(place, count - 1) + 50)
        )
        assert index.floor(key) == expected
    assert index.last() == (None if not count else (10 * count - 1, 100 * count - 50))


def test_appending_goes_on_after_a_flush_and_a_release(tmp_path: Path) -> None:
    index = filled(tmp_path / "i", 3)
    index.flush()
    index.append(100, 1000)
    index.flush()
    index.flush()
    index.release()
    index.append(200, 2000)
    index.release()
    data = (tmp_path / "i").read_bytes()
    assert [pair[0] for pair in struct.iter_unpack(">ii", data)] == [9, 19, 29, 100, 200]


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_keep(tmp_path_factory: pytest.TempPathFactory, count: int, kept: int) -> None:
    path = tmp_path_factory.mktemp("index") / "i"
    index = filled(path, count)
    index.flush()
    index.keep(kept)
    index.append(9999, 9999)
    index.release()
    assert len(index) == min(count, kept) + 1
    assert path.stat().st_size == 8 * len(index)


@pytest.mark.parametrize("count", [0, 1, 2, 700])
def test_a_preallocated_tail_is_no_entry(tmp_path: Path, count: int) -> None:
    path = tmp_path / "i"
    filled(path, count).release()
    with path.open("ab") as file:
        file.write(bytes(80_000))
    index = OffsetIndex(str(path))
    assert not index.is_whole()
    assert len(index) == count
    assert index.floor(1 << 30) == (None if not count else (10 * count - 1, 100 * count - 50))
    index.append(1 << 20, 1 << 20)
    index.release()
    assert path.stat().st_size == 8 * (count + 1)
    assert index.is_whole()


def test_missing_file_is_empty(tmp_path: Path) -> None:
    index = TimeIndex(str(tmp_path / "t"))
    assert len(index) == 0
    assert index.floor(5) is None
    assert index.last() is None


def test_rebuild_replaces_a_longer_file(tmp_path: Path) -> None:
    path = tmp_path / "i"
    filled(path, 9).release()
    index = OffsetIndex(str(path))
    index.start_rebuild()
    index.append(1, 2)
    index.flush()
    assert path.read_bytes() == struct.pack(">ii", 1, 2)


@pytest.mark.parametrize("count", [0, 1, 5, 3000])
@pytest.mark.parametrize("released", [False, True])
def test_the_first_entry_at_or_after_a_position(tmp_path: Path, count: int, released: bool) -> None:
    index = filled(tmp_path / "i", count)
    if released:
        index.release()
    for position in (0, 49, 50, 51, 149, 150, 151, 100 * count - 50, 100 * count - 49):
        expected = [entry for entry in map(index.get, range(len(index))) if entry[1] >= position]
        assert index.at_or_after(position) == (expected[0] if expected else None)
