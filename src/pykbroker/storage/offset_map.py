"""The newest offset of every key in the part of a log that is being compacted, in a bounded amount of memory.

Keys are kept as MD5 digests of 16 bytes, in slots of 24 bytes with the offset. How much memory there is says the
caller; a map that is full ends the round of cleaning, it never grows.
"""

from __future__ import annotations

from hashlib import md5
from itertools import count
from math import isqrt
from mmap import mmap
from struct import Struct

SLOT_SIZE = 24
_SPARE_SLOTS = 64
_WORDS = Struct(">QQ")


class OffsetMap:
    """Key → offset, by open addressing. Pages of it that no key falls into take no memory.

    `buffer_size` is in bytes; `load_factor` is how full the slots may become; for `expected` keys no more slots are
    made than they need. Raises ValueError for a buffer that holds no key.
    """

    def __init__(self, buffer_size: int, load_factor: float, expected: int) -> None:
        slots = _prime_up_to(min(buffer_size // SLOT_SIZE, int(expected / load_factor) + _SPARE_SLOTS))
        self.capacity = min(int(slots * load_factor), slots - 1)
        """How many keys it takes."""
        if self.capacity < 1 or slots < 3:
            raise ValueError(f"log.cleaner.dedupe.buffer.size is {buffer_size}: too little for a single key")
        self.latest_offset = -1
        """Everything up to this offset is in the map."""
        self._slots = slots
        self._used = 0
        self._memory = mmap(-1, slots * SLOT_SIZE)
        words = memoryview(self._memory)
        self._first = words[: 8 * slots].cast("Q")
        self._second = words[8 * slots : 16 * slots].cast("Q")
        self._value = words[16 * slots :].cast("q")  # the offset + 1; 0 is an empty slot
        words.release()

    def __len__(self) -> int:
        return self._used

    def _find(self, first: int, second: int) -> int:
        """The slot of a digest, or the empty one where it belongs. The number of slots is prime: all are visited."""
        firsts, values, slots = self._first, self._value, self._slots
        place = first % slots
        step = 1 + second % (slots - 1)
        while values[place] and (firsts[place] != first or self._second[place] != second):
            place += step
            if place >= slots:
                place -= slots
        return place

    def put(self, key: bytes, offset: int) -> bool:
        """Notes the newest offset of a key. False when the map is full; nothing is noted then."""
        first, second = _WORDS.unpack(md5(key, usedforsecurity=False).digest())
        place = self._find(first, second)
        if not self._value[place]:
            if self._used >= self.capacity:
                return False
            self._used += 1
            self._first[place] = first
            self._second[place] = second
        self._value[place] = offset + 1
        return True

    def get(self, key: bytes) -> int:
        """The newest offset of a key, -1 for one that isn't there."""
        return self._value[self._find(*_WORDS.unpack(md5(key, usedforsecurity=False).digest()))] - 1

    def close(self) -> None:
        """Gives the memory back."""
        for view in (self._first, self._second, self._value):
            view.release()
        self._memory.close()


def _prime_up_to(number: int) -> int:
    if number <= 3:
        return number
    return next(n for n in count(number, -1) if n == 3 or (n % 2 and all(n % d for d in range(3, isqrt(n) + 1, 2))))
