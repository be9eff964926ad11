"""A replica on its way to another data directory: the names and marks of its future log (KIP-113).

The future log lies in `TOPIC-N.ID-future` until it has everything, and takes its place by a rename. From its first
moment a mark in it says that it is the one to stay: two directories of one partition are what a crash in the middle of
that leaves behind, and the one without a mark has to go. Apache Kafka has a person decide that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.checkpoints import replace_file, sync_directory

LONGEST_NAME = 255
"""Of a directory."""
FUTURE_SUFFIX = "-future"
DELETE_SUFFIX = "-delete"
REPLACES = "replaces"
"""The mark: a file in a future log's directory. For people it has the path of what is to be replaced."""
_FUTURE = re.compile(r"(.+)-(\d+)\.[0-9a-f]{32}-future")


def marked_name(name: str | TopicPartition, mark: str) -> str:
    """A new name for a directory that isn't the partition's log: not its log yet, or not any more.

    A name that is too long for the file system is cut.
    """
    suffix = f".{os.urandom(16).hex()}{mark}"
    return str(name)[: LONGEST_NAME - len(suffix)] + suffix


def future_partition(name: str) -> TopicPartition | None:
    """The partition whose future log a directory of this name is; None for all others."""
    found = _FUTURE.fullmatch(name)
    return None if found is None else TopicPartition(found[1], int(found[2]))


def write_mark(directory: str, replaced: str) -> None:
    """Marks a future log that will replace the log in a directory. Durable when this returns: blocks on fsync."""
    replace_file(os.path.join(directory, REPLACES), replaced.encode())


def remove_mark(directory: str, *, sync: bool = False) -> None:
    """Removes the mark, there or not: nothing is replaced any more. Blocks on fsync with `sync`."""
    try:
        os.unlink(os.path.join(directory, REPLACES))
    except FileNotFoundError:
        return
    if sync:
        sync_directory(directory)


def finish_replacements(directories: Iterable[str]) -> Iterator[str]:
    """Sets aside, to be deleted, what a future log had replaced when a crash came; gives those paths.

    A directory that can't be read is left out. Raises OSError.
    """
    places: dict[str, list[str]] = {}
    for directory in directories:
        try:
            found = [entry for entry in os.scandir(directory) if entry.is_dir()]
        except OSError:
            continue
        for entry in found:
            places.setdefault(entry.name, []).append(entry.path)
    for name, paths in places.items():
        if len(paths) != 2:
            continue
        marked = [os.path.exists(os.path.join(path, REPLACES)) for path in paths]
        if any(marked) and not all(marked):
            kept, replaced = paths if marked[0] else paths[::-1]
            os.rename(replaced, os.path.join(os.path.dirname(replaced), marked_name(name, DELETE_SUFFIX)))
            remove_mark(kept)
            yield replaced
