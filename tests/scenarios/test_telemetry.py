"""librdkafka pushes its own metrics where the broker asks for them (KIP-714)."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Producer

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

pytestmark = pytest.mark.slow


def test_a_producer_pushes_and_says_farewell() -> None:
    wanted = {"metrics": "org.apache.kafka.producer", "interval.ms": "100", "match": "client_id=app"}
    configs = [IncrementalAlterConfigsRequest.Resource.Config(name=name, value=text) for name, text in wanted.items()]
    resource = IncrementalAlterConfigsRequest.Resource(resource_type=16, resource_name="mine", configs=configs)
    with KafkaBroker(telemetry=True) as broker:
        with WireClient(broker.host, broker.port) as client:
            (altered,) = client.request(IncrementalAlterConfigsRequest(resources=[resource]), 1).responses
        assert altered.error_code == ErrorCode.NONE
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "client.id": "app", "log_level": 0})
        deadline = time.monotonic() + 60
        while not broker.telemetry and time.monotonic() < deadline:
            producer.produce("t", b"v")
            producer.flush(0.1)
        assert broker.telemetry, "nothing was pushed"
        first = broker.telemetry[0]
        assert (first.client_id, first.terminating) == ("app", False)
        assert b"org.apache.kafka.producer" in first.metrics
        del producer
        last = broker.telemetry[-1]
        assert (last.client_instance_id, last.terminating) == (first.client_instance_id, True)
