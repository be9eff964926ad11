import pytest

from pykbroker.storage.offset_map import SLOT_SIZE, OffsetMap


def test_a_key_has_its_newest_offset() -> None:
    offsets = OffsetMap(1 << 20, 0.9, 1000)
    for offset in range(3000):
        assert offsets.put(b"key %d" % (offset % 1000), offset)
    assert len(offsets) == 1000
    assert [offsets.get(b"key %d" % n) for n in range(1000)] == list(range(2000, 3000))
    assert offsets.get(b"another") == -1
    offsets.close()


def test_a_full_map_takes_known_keys_only() -> None:
    offsets = OffsetMap(100 * SLOT_SIZE, 0.5, 1_000_000)
    assert offsets.capacity == 48  # half of 97 slots
    assert all(offsets.put(b"%d" % n, n) for n in range(48))
    assert not offsets.put(b"one more", 48)
    assert offsets.put(b"7", 49)
    assert (offsets.get(b"7"), offsets.get(b"one more"), len(offsets)) == (49, -1, 48)
    offsets.close()


def test_every_slot_can_be_used() -> None:
    offsets = OffsetMap(11 * SLOT_SIZE, 1.0, 1_000_000)
    assert offsets.capacity == 10
    assert all(offsets.put(b"%d" % n, n) for n in range(10))
    assert [offsets.get(b"%d" % n) for n in range(11)] == [*range(10), -1]
    offsets.close()


def test_no_more_slots_than_expected_keys_need() -> None:
    offsets = OffsetMap(128 << 20, 0.9, 100)
    assert 100 <= offsets.capacity < 200
    offsets.close()


@pytest.mark.parametrize("size", [0, SLOT_SIZE, 2 * SLOT_SIZE])
def test_a_buffer_for_no_key(size: int) -> None:
    with pytest.raises(ValueError, match=r"log\.cleaner\.dedupe\.buffer\.size"):
        OffsetMap(size, 0.9, 10)
