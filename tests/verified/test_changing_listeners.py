"""The same changes of listeners to this broker and to Apache Kafka 4.3: what is taken, what is refused, what serves."""

from __future__ import annotations

import re
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.verified import apache_kafka

from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

pytestmark = pytest.mark.slow

MAP = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECOND:PLAINTEXT"


def alter(client: WireClient, name: str, validate: bool, *changes: tuple[str, str | None]) -> int:
    """Changes a broker's configs, None to delete; the error code."""
    config = IncrementalAlterConfigsRequest.Resource.Config
    configs = [config(name=key, value=text, config_operation=int(text is None)) for key, text in changes]
    resource = IncrementalAlterConfigsRequest.Resource(resource_type=4, resource_name=name, configs=configs)
    request = IncrementalAlterConfigsRequest(resources=[resource], validate_only=validate)
    return int(client.request(request, 1).responses[0].error_code)


def listeners(client: WireClient) -> str:
    resource = DescribeConfigsRequest.Resource(resource_type=4, resource_name="1", configuration_keys=["listeners"])
    (result,) = client.request(DescribeConfigsRequest(resources=[resource]), 4).results
    return str(result.configs[0].value)


def conversation(bootstrap: str) -> dict[str, object]:
    host, _, port = bootstrap.rpartition(":")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        second = sock.getsockname()[1]
    with closing(WireClient(host, int(port))) as client:
        own = listeners(client)
        first = own.split(",")[0]
        both = f"{own},SECOND://127.0.0.1:{second}"
        asked: dict[str, tuple[str, list[tuple[str, str | None]]]] = {
            "one more": ("1", [("listeners", both)]),
            "as it is": ("1", [("listeners", own)]),
            "without the brokers' own": ("1", [("listeners", both.replace(f"{first},", ""))]),
            "without a protocol": ("1", [("listeners", f"{own},THIRD://127.0.0.1:{second}")]),
            "no listener at all": ("1", [("listeners", "nonsense")]),
            "one port twice": ("1", [("listeners", f"{own},SECOND://127.0.0.1:{port}")]),
            "a name twice": ("1", [("listeners", f"{own},PLAINTEXT://127.0.0.1:{second}")]),
            "of all brokers": ("", [("listeners", both)]),
            "another protocol": (
                "1",
                [("listener.security.protocol.map", MAP.replace(",PLAINTEXT:P", ",PLAINTEXT:SASL_P"))],
            ),
            "a key of one that stays": (
                "1",
                [("listeners", both), ("listener.name.plaintext.sasl.enabled.mechanisms", "PLAIN")],
            ),
            "a limit of one that stays": (
                "1",
                [("listeners", both), ("listener.name.plaintext.max.connections", "1000")],
            ),
        }
        found: dict[str, object] = {
            what: alter(client, name, True, *changes) for what, (name, changes) in asked.items()
        }
        found["added"] = alter(client, "1", False, ("listeners", both))
        found["served"] = eventually(second, open_=True)
        with closing(WireClient("127.0.0.1", second)) as other:
            found["versions"] = other.request(ApiVersionsRequest(), 0).error_code
            found["removed"] = alter(client, "1", False, ("listeners", None))
            found["gone"] = eventually(second, open_=False)
            other.socket.settimeout(30)
            found["closed"] = not other.socket.recv(1)
    return found


def eventually(port: int, *, open_: bool) -> bool:
    """Whether the port is taken, or given back, within a while: Apache Kafka answers before it acts."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if not open_:
                return True
        else:
            if open_:
                return True
        time.sleep(0.05)
    return False


def test_listeners_change_as_in_apache_kafka(tmp_path: Path) -> None:
    """With `advertised.listeners`, as without it Apache Kafka 4.3 lets no listener go."""
    kafka = apache_kafka.ApacheKafka(tmp_path, config={"listener.security.protocol.map": MAP})
    try:
        kafka.prepare()
        properties = tmp_path / "server.properties"
        (listener,) = re.findall(r"^listeners=(PLAINTEXT://[^,]*)", properties.read_text(), re.MULTILINE)
        with properties.open("a") as file:
            file.write(f"advertised.listeners={listener}\n")
        with kafka:
            theirs = conversation(kafka.bootstrap_servers)
    except apache_kafka.Unavailable as reason:
        pytest.skip(str(reason))
    port = listener.rpartition(":")[2]
    config = {"listener.security.protocol.map": MAP, "advertised.listeners": listener}
    with KafkaBroker(port=int(port), config=config) as broker:
        ours = conversation(broker.bootstrap_servers)
    assert ours == theirs
    assert theirs["closed"]
