"""What consumers of the classic protocol tell each other, as far as the coordinator reads it. It changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pykbroker.coordinator.group.member import ClassicMember
from pykbroker.protocol.consumer_protocol import Subscription
from pykbroker.protocol.errors import MalformedMessage

CONSUMER_PROTOCOL = "consumer"
"""The protocol type of consumers, as opposed to Connect's workers and others."""


def subscribed_topics(members: Iterable[ClassicMember]) -> Collection[str] | None:
    """The topics that consumers subscribe to; None where one doesn't say it in a known way."""
    topics: set[str] = set()
    for member in members:
        for _, metadata in member.protocols[:1]:
            try:
                topics.update(read_subscription(metadata).topics)
            except MalformedMessage:
                return None
    return topics


def read_subscription(metadata: bytes) -> Subscription:
    """A consumer's subscription as version 0, which every later one begins with. Raises MalformedMessage."""
    return Subscription.decode(metadata, 0, 2)
