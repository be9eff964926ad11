"""The cluster's image and ids."""

from uuid import UUID

from pykbroker.cluster.image import (
    BrokerImage,
    ClusterImage,
    PartitionState,
    TopicImage,
    parse_uuid,
    uuid_from,
    uuid_text,
)

STATE = PartitionState(1, 0, (1,), (1,), 0, 1)
A = TopicImage("a", UUID(int=1), {0: STATE})


def test_topics_come_and_go_with_their_ids() -> None:
    image = ClusterImage("id").with_topics(A, TopicImage("b", UUID(int=2), {0: STATE}))
    assert image.topic_names == {UUID(int=1): "a", UUID(int=2): "b"}
    image = image.without_topics("b")
    assert image.topics == {"a": A}
    assert image.topic_names == {UUID(int=1): "a"}


def test_a_topic_made_again_leaves_no_old_id() -> None:
    image = ClusterImage("id").with_topics(A).with_topics(TopicImage("a", UUID(int=3), {0: STATE}))
    assert image.topic_names == {UUID(int=3): "a"}


def test_brokers_stand_in_order() -> None:
    assert list(ClusterImage("id").with_brokers(BrokerImage(2, {}), BrokerImage(1, {})).brokers) == [1, 2]


def test_internal_topics_are_known() -> None:
    assert TopicImage("__consumer_offsets", UUID(int=1), {}).is_internal
    assert not A.is_internal


def test_ids_as_text() -> None:
    made = uuid_from(bytes(range(16)))
    assert made.version == 4
    assert len(uuid_text(made)) == 22
    assert parse_uuid(uuid_text(made)) == made


def test_no_id_starts_with_a_dash() -> None:
    assert not uuid_text(uuid_from(b"\xf8" + bytes(15))).startswith("-")
