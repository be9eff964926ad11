"""What a machine's crash may do to the end of a file: cut, zeroed or flipped; and which records it cost."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import NamedTuple

from pykbroker.protocol.errors import KafkaError
from pykbroker.storage.segment_check import scan_batches

KINDS = ("cut", "zeroed", "flipped")
MOST_BYTES = 20_000


class Damage(NamedTuple):
    """Bytes of the newest segment of a partition that are not what was written any more."""

    kind: str
    path: Path
    position: int
    end_offset: int
    """The offset that the log must end at: of the first batch that the damage reached."""

    def __str__(self) -> str:
        return f"{self.path.parent.name} {self.kind} from byte {self.position} on, ends at {self.end_offset}"


def damage_tail(partition: Path, dice: random.Random) -> Damage | None:
    """Damages the last bytes of a partition's newest segment; None when there is nothing in it."""
    path = max(partition.glob("*.log"))
    content = path.read_bytes()
    if not content:
        return None
    kind = dice.choice(KINDS)
    # Small numbers as often as large ones: most mistakes live at the edge of a batch.
    count = min(len(content), int(MOST_BYTES ** dice.random()))
    position = len(content) - count
    tail = b""
    if kind != "cut":
        mask = dice.randrange(1, 256)
        tail = bytes(count) if kind == "zeroed" else bytes(byte ^ mask for byte in content[position:])
        while position < len(content) and tail[position - len(content)] == content[position]:
            position += 1  # a zero that was one before is no damage
    damage = Damage(kind, path, position, _end_below(path, position))
    with open(path, "r+b") as file:
        file.truncate(len(content) - count)
        file.seek(0, os.SEEK_END)
        file.write(tail)
    return damage


def _end_below(path: Path, position: int) -> int:
    """The offset behind the last batch that lies wholly below a position."""
    end_offset = int(path.stem)
    try:
        for start, batch in scan_batches(str(path)):
            if start + batch.size > position:
                break
            end_offset = batch.last_offset + 1
    except KafkaError:
        pass
    return end_offset
