"""Text files of a data directory that are replaced as a whole: offset checkpoints and their like.

Each is written beside its place, synced, renamed over the old one, and the directory synced.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.storage.files import open_fd, read_file, sync_fd

RECOVERY_POINTS = "recovery-point-offset-checkpoint"
LOG_START_OFFSETS = "log-start-offset-checkpoint"
HIGH_WATERMARKS = "replication-offset-checkpoint"
CLEANER_OFFSETS = "cleaner-offset-checkpoint"

_VERSION = "0"


class CheckpointFormatError(Exception):
    """A checkpoint whose version, count or lines are not as they must be."""


def replace_file(path: str, content: bytes, *, sync: bool = True) -> None:
    """Puts new content in a file's place, whole or not at all.

    Blocks on fsync unless `sync` is false: then the change survives the process, but not yet the machine.
    """
    temporary = path + ".tmp"
    fd = open_fd(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(fd, content, 0)
        if sync:
            sync_fd(fd)
    finally:
        os.close(fd)
    os.replace(temporary, path)
    if sync:
        sync_directory(os.path.dirname(path))


def write_all(fd: int, data: bytes | bytearray | memoryview, position: int) -> None:
    """Writes everything at a position, however many calls that takes."""
    written = os.pwrite(fd, data, position)
    if written == len(data):
        return
    view = memoryview(data)
    while written < len(view):
        written += os.pwrite(fd, view[written:], position + written)


def sync_directory(path: str) -> None:
    """Makes renames and new names in a directory durable. Blocks on fsync."""
    sync_path(path)


def sync_path(path: str) -> None:
    """fsyncs a file or a directory by name; one that is gone needs none. Raises OSError, LostWrites."""
    try:
        fd = open_fd(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        sync_fd(fd)
    finally:
        os.close(fd)


def read_lines(path: str) -> list[list[str]] | None:
    """The words of each line of a version-0 file with a count; None when there is no file, or an empty one.

    Empty is what a machine's crash leaves of a file that wasn't synced yet. Raises CheckpointFormatError.
    """
    content = read_file(path)
    if not content:
        return None
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise CheckpointFormatError(f"{path} is not text") from None
    if not lines:
        return None
    if len(lines) < 2 or lines[0].strip() != _VERSION or not lines[1].strip().isdigit():
        raise CheckpointFormatError(f"{path} does not begin with version {_VERSION} and a count")
    entries = [line.split() for line in lines[2:] if line.strip()]
    if len(entries) != int(lines[1]):
        raise CheckpointFormatError(f"{path} promises {lines[1].strip()} entries and has {len(entries)}")
    return entries


def lines_content(lines: list[str]) -> bytes:
    """The bytes of a version-0 file with these entries."""
    return "\n".join([_VERSION, str(len(lines)), *lines, ""]).encode()


def read_offsets(path: str) -> dict[TopicPartition, int]:
    """An offset checkpoint; empty when there is no file. Raises CheckpointFormatError."""
    offsets: dict[TopicPartition, int] = {}
    for words in read_lines(path) or ():
        try:
            topic, partition, offset = words
            offsets[TopicPartition(topic, int(partition))] = int(offset)
        except ValueError:
            raise CheckpointFormatError(f"{path} has the line {' '.join(words)!r}") from None
    return offsets


def write_offsets(path: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Replaces an offset checkpoint. Blocks on fsync."""
    lines = [f"{topic} {partition} {offset}" for (topic, partition), offset in offsets.items()]
    replace_file(path, lines_content(lines))
