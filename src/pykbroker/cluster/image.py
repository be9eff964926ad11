"""What a broker knows about its cluster: brokers, topics, and each partition's state. Nothing here changes in place.

The rules read it and the controller makes the next one. It never knows where it is stored or who asked for it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from pykbroker.cluster.features import FinalizedFeatures

NO_LEADER = -1
NO_EPOCH = -1

GROUP_METADATA_TOPIC = "__consumer_offsets"
TRANSACTION_STATE_TOPIC = "__transaction_state"
SHARE_GROUP_STATE_TOPIC = "__share_group_state"
INTERNAL_TOPICS = frozenset((GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC, SHARE_GROUP_STATE_TOPIC))


_NONE: Mapping[Any, Any] = MappingProxyType({})


class Endpoint(NamedTuple):
    """Where a broker's listener is reached."""

    host: str
    port: int
    security_protocol: str


class PartitionState(NamedTuple):
    """A leadership decision and its ISR, as the state znode and LeaderAndIsr carry them; leader -1 is none."""

    leader: int
    leader_epoch: int
    isr: tuple[int, ...]
    replicas: tuple[int, ...]
    partition_epoch: int
    controller_epoch: int
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()


class TopicImage(NamedTuple):
    """A topic: its partitions by index, and its own config overrides by Kafka's names."""

    name: str
    topic_id: UUID
    partitions: Mapping[int, PartitionState]
    config: Mapping[str, str] = _NONE

    @property
    def is_internal(self) -> bool:
        """Whether it is one of Kafka's own topics."""
        return self.name in INTERNAL_TOPICS


class BrokerImage(NamedTuple):
    """A registered broker; its epoch grows with each registration."""

    id: int
    endpoints: Mapping[str, Endpoint]
    rack: str | None = None
    epoch: int = NO_EPOCH


class ClusterImage(NamedTuple):
    """The cluster at one moment."""

    cluster_id: str
    controller_id: int = -1
    brokers: Mapping[int, BrokerImage] = _NONE
    topics: Mapping[str, TopicImage] = _NONE
    topic_names: Mapping[UUID, str] = _NONE
    features: FinalizedFeatures = FinalizedFeatures()

    def with_topics(self, *topics: TopicImage) -> ClusterImage:
        """With these topics, new or changed."""
        names = dict(self.topic_names)
        for topic in topics:
            known = self.topics.get(topic.name)
            if known is not None and known.topic_id != topic.topic_id:
                names.pop(known.topic_id, None)
            names[topic.topic_id] = topic.name
        return self._replace(topics={**self.topics, **{topic.name: topic for topic in topics}}, topic_names=names)

    def without_topics(self, *names: str) -> ClusterImage:
        """Without the topics of these names."""
        return self._replace(
            topics={name: topic for name, topic in self.topics.items() if name not in names},
            topic_names={topic_id: name for topic_id, name in self.topic_names.items() if name not in names},
        )

    def with_brokers(self, *brokers: BrokerImage) -> ClusterImage:
        """With these brokers and no others."""
        return self._replace(brokers={broker.id: broker for broker in sorted(brokers, key=lambda one: one.id)})


def uuid_text(value: UUID) -> str:
    """Kafka's form of an id: 22 characters of base64url."""
    return urlsafe_b64encode(value.bytes).decode().rstrip("=")


def parse_uuid(text: str) -> UUID:
    """The id that 22 characters of base64url stand for; raises ValueError."""
    return UUID(bytes=urlsafe_b64decode(text + "=="))


def uuid_from(random_bytes: bytes) -> UUID:
    """A topic's id from 16 random bytes: version 4, and as Kafka wants it, not with a dash in front.

    Twice the same bytes give the same id; the caller draws again where an id is taken.
    """
    made = UUID(bytes=random_bytes, version=4)
    if uuid_text(made).startswith("-"):
        made = UUID(bytes=bytes([random_bytes[0] & 0x7F]) + random_bytes[1:], version=4)
    return made
