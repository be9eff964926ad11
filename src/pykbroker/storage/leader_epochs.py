"""The leader epochs of a log and where each began; the file `leader-epoch-checkpoint`.

It answers where an epoch ended. Whether that means that somebody must truncate is the replica's to decide.
"""

from __future__ import annotations

import os
from bisect import bisect_right

from pykbroker.storage.checkpoints import (
    CheckpointFormatError,
    lines_content,
    read_lines,
    replace_file,
    sync_directory,
    sync_path,
)

LEADER_EPOCH_CHECKPOINT = "leader-epoch-checkpoint"
UNDEFINED_EPOCH = -1
UNDEFINED_OFFSET = -1


class LeaderEpochs:
    """Entries (epoch, first offset), both strictly ascending, written to the file at each change.

    Writing doesn't sync (an append must not wait for a disk): `flush` does.
    """

    __slots__ = ("_behind", "_dirty", "directory", "entries", "latest")

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.entries: list[tuple[int, int]] = []
        self.latest: int | None = None
        self._dirty = False
        self._behind = False
        """Whether the file has one entry more, of an epoch without records."""

    def load(self) -> None:
        """Reads the file. Raises CheckpointFormatError; a missing file is no epochs."""
        path = self._path
        entries: list[tuple[int, int]] = []
        for words in read_lines(path) or ():
            try:
                epoch, start = (int(word) for word in words)
            except ValueError:
                raise CheckpointFormatError(f"{path} has the line {' '.join(words)!r}") from None
            if entries and (epoch <= entries[-1][0] or start <= entries[-1][1]):
                raise CheckpointFormatError(f"{path} is not ascending at epoch {epoch}")
            entries.append((epoch, start))
        self._set(entries)

    @property
    def _path(self) -> str:
        return os.path.join(self.directory, LEADER_EPOCH_CHECKPOINT)

    def _set(self, entries: list[tuple[int, int]]) -> None:
        self.entries = entries
        self.latest = entries[-1][0] if entries else None

    def _store(self, entries: list[tuple[int, int]]) -> None:
        self._set(entries)
        replace_file(self._path, lines_content([f"{epoch} {start}" for epoch, start in entries]), sync=False)
        self._behind = False
        self._dirty = True  # Not before: a flush in another thread would sync the old file for the new one.

    def flush(self) -> None:
        """Makes the file durable. Blocks on fsync; may run in a thread while the log is appended to."""
        if self._dirty:
            self._dirty = False
            sync_path(self._path)
            sync_directory(self.directory)

    def assign(self, epoch: int, start: int) -> None:
        """A batch of this epoch is appended at `start`, or its leader was elected with `start` as the log's end."""
        if epoch < 0 or (self.latest is not None and epoch <= self.latest and start >= self.entries[-1][1]):
            if self._behind:
                self._store(self.entries)
            return
        kept = [entry for entry in self.entries if entry[0] < epoch and entry[1] < start]
        self._store([*kept, (epoch, start)])

    def truncate_from_end(self, offset: int) -> None:
        """Forgets epochs that began at or after `offset`."""
        if self.entries and self.entries[-1][1] >= offset:
            self._store([entry for entry in self.entries if entry[1] < offset])

    def loaded(self, end: int) -> None:
        """The log ends here: epochs that begin there or later are forgotten.

        An epoch without records stays in the file until something is appended: most partitions of a broker that starts
        have one, and a newer one soon (Kafka too writes this behind).
        """
        if self.entries and self.entries[-1][1] == end:
            self._set(self.entries[:-1])
            self._behind = True
        else:
            self.truncate_from_end(end)

    def truncate_from_start(self, offset: int) -> None:
        """Forgets epochs that ended at or before `offset`; the first one left begins there."""
        if not self.entries or self.entries[0][1] >= offset:
            return
        place = bisect_right(self.entries, offset, key=lambda entry: entry[1]) - 1
        self._store([(self.entries[place][0], offset), *self.entries[place + 1 :]])

    def take_over(self, other: LeaderEpochs) -> None:
        """Knows what another log's epochs do."""
        if self.entries != other.entries or self._behind:
            self._store(other.entries.copy())

    def clear(self) -> None:
        """Forgets all."""
        if self.entries or self._behind:
            self._store([])

    def end_offset(self, epoch: int, log_end_offset: int) -> tuple[int, int]:
        """The largest known epoch ≤ `epoch`, and the offset at which it ended; (-1, -1) for one that isn't known yet.

        An epoch below the first known ends where the first began (KIP-101, KIP-279).
        """
        if epoch < 0 or self.latest is None or epoch > self.latest:
            return UNDEFINED_EPOCH, UNDEFINED_OFFSET
        if epoch == self.latest:
            return epoch, log_end_offset
        place = bisect_right(self.entries, epoch, key=lambda entry: entry[0])
        if place == 0:
            return epoch, self.entries[0][1]
        return self.entries[place - 1][0], self.entries[place][1]

    def epoch_at(self, offset: int) -> int:
        """The epoch of the record at an offset; -1 when it isn't known."""
        place = bisect_right(self.entries, offset, key=lambda entry: entry[1])
        return self.entries[place - 1][0] if place else UNDEFINED_EPOCH
