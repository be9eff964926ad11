"""`meta.properties` of a data directory: whose data it is. `partition.metadata` of a partition: whose topic.

It reads and writes; that an id contradicts another is for the caller to say.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pykbroker.storage.checkpoints import CheckpointFormatError, replace_file
from pykbroker.storage.files import read_file

if TYPE_CHECKING:
    from uuid import UUID

META_PROPERTIES = "meta.properties"
PARTITION_METADATA = "partition.metadata"


@dataclass(slots=True)
class MetaProperties:
    """What a data directory says of its owner; keys of other releases are kept in `others`."""

    broker_id: int | None = None
    cluster_id: str | None = None
    others: dict[str, str] = field(default_factory=dict)


def read_meta_properties(directory: str) -> MetaProperties | None:
    """The file's content; None where there is none, as in a new directory.

    Raises CheckpointFormatError when it can't be understood.
    """
    path = os.path.join(directory, META_PROPERTIES)
    properties = _read_properties(path, "=")
    if properties is None:
        return None
    version = properties.pop("version", None)
    if version not in ("0", "1"):
        raise CheckpointFormatError(f"{path} has version {version}, not 0")
    number = properties.pop("node.id" if version == "1" else "broker.id", None)
    try:
        broker_id = None if number is None else int(number)
    except ValueError:
        raise CheckpointFormatError(f"{path} has the broker id {number!r}") from None
    return MetaProperties(broker_id, properties.pop("cluster.id", None), properties)


def write_meta_properties(directory: str, meta: MetaProperties) -> None:
    """Writes the form of ZooKeeper-mode releases. Blocks on fsync."""
    lines = ["#", "version=0"]
    if meta.broker_id is not None:
        lines.append(f"broker.id={meta.broker_id}")
    if meta.cluster_id is not None:
        lines.append(f"cluster.id={meta.cluster_id}")
    lines += [f"{key}={value}" for key, value in meta.others.items()]
    replace_file(os.path.join(directory, META_PROPERTIES), "\n".join([*lines, ""]).encode())


def read_topic_id(directory: str) -> UUID | None:
    """The topic id in a partition's directory; None where there is no file.

    Raises CheckpointFormatError when it can't be understood.
    """
    path = os.path.join(directory, PARTITION_METADATA)
    properties = _read_properties(path, ":")
    if not properties:
        return None
    from uuid import UUID

    try:
        return UUID(bytes=urlsafe_b64decode(properties["topic_id"] + "=="))
    except (KeyError, ValueError):
        raise CheckpointFormatError(f"{path} has no topic id") from None


def write_topic_id(directory: str, topic_id: UUID, *, sync: bool = True) -> None:
    """Writes `partition.metadata`. Blocks on fsync unless `sync` is false."""
    text = urlsafe_b64encode(topic_id.bytes).rstrip(b"=").decode()
    content = f"version: 0\ntopic_id: {text}".encode()
    replace_file(os.path.join(directory, PARTITION_METADATA), content, sync=sync)


def _read_properties(path: str, separator: str) -> dict[str, str] | None:
    content = read_file(path)
    if content is None:
        return None
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise CheckpointFormatError(f"{path} is not text") from None
    properties: dict[str, str] = {}
    for line in lines:
        key, found, value = line.partition(separator)
        if found and not key.startswith("#"):
            properties[key.strip()] = value.strip()
    return properties


def remove_begun(directory: str) -> None:
    """Removes a log's directory that has got no further than its topic id, without a descriptor: there may be none."""
    for remove, path in (
        (os.unlink, os.path.join(directory, PARTITION_METADATA)),
        (os.unlink, os.path.join(directory, PARTITION_METADATA + ".tmp")),
        (os.rmdir, directory),
    ):
        try:
            remove(path)
        except OSError:
            pass
