"""Kafka's znodes: what stands in them."""

import json
from typing import Any
from uuid import UUID

from pykbroker.cluster.features import FinalizedFeatures
from pykbroker.cluster.image import BrokerImage, Endpoint, PartitionState, TopicImage
from pykbroker.metadata import znodes

STATE = PartitionState(leader=2, leader_epoch=4, isr=(2, 1), replicas=(1, 2), partition_epoch=7, controller_epoch=3)
TOPIC = TopicImage("t", UUID(int=5), {0: STATE})


def body(data: bytes) -> Any:
    return json.loads(data)


def test_a_topic() -> None:
    data = znodes.encode_topic(TOPIC)
    assert data == (
        b'{"version":3,"topic_id":"AAAAAAAAAAAAAAAAAAAABQ","partitions":{"0":[1,2]},'
        b'"adding_replicas":{},"removing_replicas":{}}'
    )
    node = znodes.decode_topic(data)
    assert (node.topic_id, node.replicas) == (UUID(int=5), {0: (1, 2)})


def test_a_topic_of_an_old_release() -> None:
    node = znodes.decode_topic(b'{"version":1,"partitions":{"0":[1]}}')
    assert (node.topic_id, node.replicas, node.adding) == (None, {0: (1,)}, {})


def test_a_state() -> None:
    data = znodes.encode_state(STATE)
    assert data == b'{"controller_epoch":3,"leader":2,"version":1,"leader_epoch":4,"isr":[2,1]}'
    assert znodes.decode_state(data, 7, (1, 2)) == STATE


def test_a_config() -> None:
    assert znodes.encode_config({"retention.ms": "5"}) == b'{"version":1,"config":{"retention.ms":"5"}}'
    assert znodes.decode_config(b'{"version":1,"config":{"retention.ms":"5"},"later":1}') == {"retention.ms": "5"}
    assert znodes.decode_config(b"") == {}


def test_features() -> None:
    data = znodes.encode_features({"transaction.version": 2})
    assert data == b'{"version":2,"status":1,"features":{"transaction.version":{"max_version_level":2}}}'
    assert znodes.decode_features(data, 3) == FinalizedFeatures({"transaction.version": 2}, 3)
    old = b'{"version":1,"status":1,"features":{"f":{"min_version_level":1,"max_version_level":3}}}'
    assert znodes.decode_features(old, 0).levels == {"f": 3}


def test_a_registration() -> None:
    endpoints = {"IN": Endpoint("::1", 9093, "SSL"), "PLAINTEXT": Endpoint("h", 9092, "PLAINTEXT")}
    data = znodes.encode_broker(BrokerImage(1, endpoints, "r"), 1234)
    assert body(data) == {
        "features": {},
        "listener_security_protocol_map": {"IN": "SSL", "PLAINTEXT": "PLAINTEXT"},
        "endpoints": ["IN://[::1]:9093", "PLAINTEXT://h:9092"],
        "jmx_port": -1,
        "port": 9092,
        "host": "h",
        "version": 5,
        "timestamp": "1234",
        "rack": "r",
    }
    assert znodes.decode_broker(1, data, 77) == BrokerImage(1, endpoints, "r", 77)


def test_a_registration_of_version_1() -> None:
    broker = znodes.decode_broker(3, b'{"host":"h","port":9092,"version":1}', 5)
    assert broker.endpoints == {"PLAINTEXT": Endpoint("h", 9092, "PLAINTEXT")}


def test_ids_and_the_controller() -> None:
    assert znodes.encode_cluster_id("x") == b'{"version":"1","id":"x"}'
    assert znodes.decode_cluster_id(znodes.encode_cluster_id("x")) == "x"
    assert znodes.decode_controller(znodes.encode_controller(4, 99)) == 4


def test_producer_id_blocks() -> None:
    data = znodes.encode_producer_id_block(1, 1000, 1999)
    assert data == b'{"version":1,"broker":1,"block_start":"1000","block_end":"1999"}'
    assert znodes.decode_producer_id_block(data) == 2000
    assert znodes.decode_producer_id_block(b"") == 0


def test_paths() -> None:
    assert znodes.state_path("t", 3) == "/brokers/topics/t/partitions/3/state"
    assert znodes.config_path("t") == "/config/topics/t"
    assert znodes.deletion_path("t") == "/admin/delete_topics/t"
    assert znodes.broker_path(1) == "/brokers/ids/1"
