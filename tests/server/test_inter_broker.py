"""Brokers that reach each other over TLS and with a login, and what is said where they can't."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from pykbroker.config.broker import BrokerConfig
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.server.inter_broker import connector_for
from pykbroker.testing import open_kafka_cluster
from pykbroker.testing.certificates import make_certificates
from pykbroker.testing.client import WireClient
from pykbroker.testing.cluster import AsyncKafkaCluster

pytestmark = pytest.mark.slow

LOGIN = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'username="broker" password="secret" user_broker="secret";'
)
SASL = {
    "listeners": "CLIENT://127.0.0.1:0,INTERNAL://127.0.0.1:0",
    "listener.security.protocol.map": "INTERNAL:SASL_PLAINTEXT,CLIENT:PLAINTEXT",
    "inter.broker.listener.name": "INTERNAL",
    "sasl.enabled.mechanisms": "PLAIN",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "listener.name.internal.plain.sasl.jaas.config": LOGIN,
}


TLS = {
    "listeners": "CLIENT://127.0.0.1:0,INTERNAL://127.0.0.1:0",
    "listener.security.protocol.map": "INTERNAL:SSL,CLIENT:PLAINTEXT",
    "inter.broker.listener.name": "INTERNAL",
    "ssl.client.auth": "required",
}


async def replicated(cluster: AsyncKafkaCluster) -> bool:
    """Whether a topic gets a leader and a full ISR that a broker comes back into."""
    broker = await cluster.controller()
    topic = CreateTopicsRequest.Topic(name="t", num_partitions=1, replication_factor=2)
    request = CreateTopicsRequest(topics=[topic], timeout_ms=5000)
    port = int(cluster.address(broker).rpartition(":")[2])

    def ask() -> Any:
        with WireClient("127.0.0.1", port) as client:
            return client.request(request, 5)

    answer = await trio.to_thread.run_sync(ask)
    assert answer.topics[0].error_code == ErrorCode.NONE
    leader = (await cluster.partition("t")).leader
    follower = 3 - leader
    await cluster.kill(follower)
    await cluster.restart(follower)
    with trio.move_on_after(20):
        while True:
            if set((await cluster.partition("t")).isr) == {1, 2}:
                return True
            await trio.sleep(0.02)
    return False


async def test_brokers_replicate_over_tls_and_show_each_other_certificates() -> None:
    certificates = make_certificates()
    async with open_kafka_cluster(brokers=2, config=TLS | certificates.properties()) as cluster:
        assert await replicated(cluster)


async def test_brokers_replicate_after_a_login() -> None:
    async with open_kafka_cluster(brokers=2, config=SASL) as cluster:
        assert await replicated(cluster)


async def test_a_login_that_is_refused_is_one_line() -> None:
    async with open_kafka_cluster(brokers=1, config=SASL) as cluster:
        wrong = SASL | {
            "listener.name.internal.plain.sasl.jaas.config": LOGIN.replace('password="secret"', 'password="no"')
        }
        connect = connector_for(BrokerConfig.from_properties(wrong))
        broker = cluster._members[1].broker
        assert broker is not None
        assert broker._metadata is not None
        endpoint = broker._metadata.inter_broker_endpoint(1)
        assert endpoint is not None
        with pytest.raises(ConnectionError, match="refuses broker"):
            await connect(1, endpoint)
