"""Each line of `apis.gaps` is true: when one isn't any more, it has to go."""

from inspect import signature

import pytest

from pykbroker.apis import HANDLERS, gaps
from pykbroker.broker import StartupError
from pykbroker.metadata.zookeeper import ZooKeeperStore
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.security.sasl import MECHANISMS
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient


def test_unserved_apis_are_not_in_the_table() -> None:
    assert gaps.UNSERVED
    assert not gaps.UNSERVED_APIS & HANDLERS.keys()


def test_two_phase_commit_is_not_served() -> None:
    assert gaps.TWO_PHASE_COMMIT
    assert HANDLERS[ApiKey.INIT_PRODUCER_ID].versions.high < 6


def test_plugins_are_not_altered(kafka_broker: KafkaBroker) -> None:
    assert gaps.PLUGINS
    for name in ("principal.builder.class", "metric.reporters"):
        config = IncrementalAlterConfigsRequest.Resource.Config(name=name, value="pykbroker.telemetry.Log")
        broker = IncrementalAlterConfigsRequest.Resource(resource_type=4, resource_name="1", configs=[config])
        with WireClient(kafka_broker.host, kafka_broker.port) as client:
            (answer,) = client.request(IncrementalAlterConfigsRequest(resources=[broker]), 1).responses
        assert answer.error_code == ErrorCode.INVALID_REQUEST


def test_keystores_are_pem() -> None:
    assert gaps.KEYSTORES
    for kind in ("JKS", "PKCS12"):
        config = {"listeners": "SSL://127.0.0.1:0", "ssl.keystore.type": kind, "ssl.keystore.location": "store"}
        with pytest.raises(StartupError, match="only PEM is served"), KafkaBroker(config=config):
            pass


def test_kerberos_is_not_served() -> None:
    assert gaps.KERBEROS
    assert "GSSAPI" not in MECHANISMS


def test_zookeeper_is_not_logged_in_to() -> None:
    assert gaps.ZOOKEEPER_SECURITY
    assert not {"auth_data", "sasl_options", "use_ssl"} & signature(ZooKeeperStore.connect).parameters.keys()
