"""Listeners changed by IncrementalAlterConfigs while brokers run (KIP-226), with what clients and brokers see of it."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.testing import KafkaBroker, KafkaCluster
from pykbroker.testing.certificates import make_certificates
from pykbroker.testing.client import WireClient

pytestmark = pytest.mark.slow

MAP = "PLAINTEXT:PLAINTEXT,SECOND:PLAINTEXT,SSL:SSL"
SETTINGS = {"listener.security.protocol.map": MAP, "offsets.topic.num.partitions": "1"}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def alter(client: WireClient, *, broker: int = 1, validate: bool = False, **texts: str | None) -> tuple[int, str]:
    """Sets (or deletes, for None) a broker's own configs; error code and message."""
    change = IncrementalAlterConfigsRequest.Resource.Config
    changes = [
        change(name=name.replace("_", "."), value=text, config_operation=0 if text is not None else 1)
        for name, text in texts.items()
    ]
    asked = IncrementalAlterConfigsRequest.Resource(resource_type=4, resource_name=str(broker), configs=changes)
    request = IncrementalAlterConfigsRequest(resources=[asked], validate_only=validate)
    (answer,) = client.request(request, 1).responses
    return answer.error_code, answer.error_message or ""


def described(client: WireClient, name: str) -> tuple[str | None, int]:
    """A broker config's value and where it comes from."""
    resource = DescribeConfigsRequest.Resource(resource_type=4, resource_name="1", configuration_keys=[name])
    (result,) = client.request(DescribeConfigsRequest(resources=[resource]), 4).results
    (config,) = result.configs
    return config.value, config.config_source


def brokers(client: WireClient) -> dict[int, tuple[str, int]]:
    return {one.node_id: (one.host, one.port) for one in client.request(MetadataRequest(topics=[]), 12).brokers}


def produce(servers: str, **config: str) -> None:
    producer = Producer({"bootstrap.servers": servers, **config})
    producer.produce("t", b"v")
    assert producer.flush(30) == 0


def consume(servers: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["t"])
    try:
        message = consumer.poll(30)
        return None if message is None else message.value()
    finally:
        consumer.close()


def await_address(client: WireClient, broker: int, address: tuple[str, int]) -> None:
    deadline = time.monotonic() + 30
    while brokers(client)[broker] != address:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_listener_is_added_used_and_removed_over_itself(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    both = f"PLAINTEXT://127.0.0.1:{first},SECOND://127.0.0.1:{second}"
    with KafkaBroker(data_dir=tmp_path, port=first, config=SETTINGS) as broker:
        with closing(WireClient(broker.host, first)) as client:
            assert alter(client, listeners=both, validate=True) == (0, "")
            with pytest.raises(ConnectionRefusedError):
                WireClient("127.0.0.1", second)
            assert alter(client, listeners=both) == (0, "")
            assert described(client, "listeners") == (both, 2)
            assert brokers(client) == {1: ("127.0.0.1", first)}
        with closing(WireClient("127.0.0.1", second)) as client:
            assert brokers(client) == {1: ("127.0.0.1", second)}
        produce(f"127.0.0.1:{second}")
    with KafkaBroker(data_dir=tmp_path, port=first, config=SETTINGS):  # What was set holds at the next start.
        assert consume(f"127.0.0.1:{second}") == b"v"
        with closing(WireClient("127.0.0.1", second)) as client:
            assert alter(client, listeners=None) == (0, ""), "answered on the listener that goes"
            with pytest.raises(ConnectionError):
                client.request(MetadataRequest(topics=[]), 12)
        with pytest.raises(ConnectionRefusedError):
            WireClient("127.0.0.1", second)


def test_what_is_refused_leaves_everything_as_it_was() -> None:
    with (
        KafkaBroker(config=SETTINGS) as broker,
        closing(WireClient(broker.host, broker.port)) as client,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        port, used = free_port(), taken.getsockname()[1]
        own = "PLAINTEXT://127.0.0.1:0"
        for listeners, said in {
            f"SECOND://127.0.0.1:{port}": "inter.broker.listener.name must be",
            f"{own},SECOND://127.0.0.1:{used}": "the port is in use",
            f"{own},SSL://127.0.0.1:{port}": "a TLS listener needs a certificate",
            f"{own},THIRD://127.0.0.1:{port}": "no security protocol is defined for listener THIRD",
            "nonsense": "expected NAME://HOST:PORT",
        }.items():
            code, message = alter(client, listeners=listeners)
            assert (code, said in message) == (ErrorCode.INVALID_REQUEST, True), message
        assert described(client, "listeners") == (own, 4)
        assert brokers(client) == {1: ("127.0.0.1", broker.port)}


def test_a_tls_listener_comes_with_its_certificates() -> None:
    certificates, port = make_certificates(), free_port()
    with KafkaBroker(config=SETTINGS) as broker, closing(WireClient(broker.host, broker.port)) as client:
        own = {f"listener.name.ssl.{key}": text for key, text in certificates.properties().items()}
        listeners = f"PLAINTEXT://127.0.0.1:0,SSL://127.0.0.1:{port}"
        assert alter(client, listeners=listeners, **own) == (0, "")
        produce(f"127.0.0.1:{port}", **{"security.protocol": "SSL", "ssl.ca.location": certificates.ca_file})
        for location in ("/nowhere.pem", None):
            code, message = alter(client, listener_name_ssl_ssl_keystore_location=location)
            assert (code, "certificate" in message) == (ErrorCode.INVALID_REQUEST, True), message
        assert alter(client, listeners=None, **dict.fromkeys(own)) == (0, "")


def test_an_advertised_address_changes_at_once() -> None:
    with KafkaBroker(config=SETTINGS) as broker, closing(WireClient(broker.host, broker.port)) as client:
        assert alter(client, advertised_listeners="PLAINTEXT://example.org:4711") == (0, "")
        assert brokers(client) == {1: ("example.org", 4711)}
        assert alter(client, advertised_listeners=None) == (0, "")
        assert brokers(client) == {1: ("127.0.0.1", broker.port)}


def test_other_brokers_hear_of_it() -> None:
    config = {"listeners": "PLAINTEXT://127.0.0.1:0,SECOND://127.0.0.1:0", **SETTINGS}
    with KafkaCluster(2, config=config) as cluster:
        ports = [int(cluster.address(one).rpartition(":")[2]) for one in (1, 2)]
        clients = [WireClient("127.0.0.1", port) for port in ports]
        for other, moving, port in ((clients[0], 2, ports[1]), (clients[1], 1, ports[0])):  # One is the controller.
            advertised = f"PLAINTEXT://localhost:{port}"
            assert alter(clients[moving - 1], broker=moving, advertised_listeners=advertised) == (0, "")
            await_address(other, moving, ("localhost", port))
        for client in clients:
            client.close()
        produce(cluster.bootstrap_servers)
