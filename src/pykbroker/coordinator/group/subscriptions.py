"""What consumers of the classic protocol tell each other, as far as the coordinator reads it. It changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping

from pykbroker.coordinator.group.member import ClassicMember
from pykbroker.protocol.consumer_protocol import Assignment, Subscription
from pykbroker.protocol.errors import MalformedMessage

CONSUMER_PROTOCOL = "consumer"
"""The protocol type of consumers, as opposed to Connect's workers and others."""

_VERSION = struct.Struct(">h")


def subscribed_topics(members: Iterable[ClassicMember]) -> Collection[str] | None:
    """The topics that consumers subscribe to; None where one doesn't say it in a known way."""
    topics: set[str] = set()
    for member in members:
        for _, metadata in member.protocols[:1]:
            try:
                topics.update(read_topics(metadata))
            except MalformedMessage:
                return None
    return topics


def version_of(data: bytes) -> int:
    """The version that a subscription or an assignment begins with. Raises MalformedMessage."""
    if len(data) < _VERSION.size:
        raise MalformedMessage(f"a subscription or an assignment of {len(data)} bytes has no version")
    version: int = _VERSION.unpack_from(data)[0]
    if version < 0:
        raise MalformedMessage(f"a subscription or an assignment of version {version}")
    return version


def read_topics(metadata: bytes) -> list[str]:
    """The topics of a subscription, which every version begins with. Raises MalformedMessage."""
    return Subscription.decode(metadata, 0, _VERSION.size).topics


def read_subscription(metadata: bytes) -> Subscription:
    """A subscription, one that is newer than the newest known as that one. Raises MalformedMessage."""
    return Subscription.decode(metadata, min(version_of(metadata), Subscription.versions.high), _VERSION.size)


def read_assignment(data: bytes) -> Assignment:
    """An assignment, read in the same way. Raises MalformedMessage."""
    return Assignment.decode(data, min(version_of(data), Assignment.versions.high), _VERSION.size)


def write_assignment(partitions: Mapping[str, list[int]], version: int) -> bytes:
    """An assignment by topic, in the version of a member's subscription."""
    version = min(version, Assignment.versions.high)
    assigned = [Assignment.AssignedPartition(topic=topic, partitions=these) for topic, these in partitions.items()]
    return _VERSION.pack(version) + Assignment(assigned_partitions=assigned).encode(version)
