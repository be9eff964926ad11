"""Passwords, tokens and keys are seen nowhere: not in logs of any level, not in answers, configs, errors or reprs."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest
from tests.security import login, matrix
from tests.security.materials import Materials
from tests.verified.record_security import free_port, listener_properties

from pykbroker.broker import StartupError
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import ConfigError
from pykbroker.protocol.messages.create_delegation_token import CreateDelegationTokenRequest
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

BROKER = 4
ALTERED = "listener.name.sasl_plaintext.plain.sasl.jaas.config"
NEW_SECRET = "altered-secret"


@pytest.mark.slow
def test_secrets_are_seen_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    materials = Materials(tmp_path)
    ports = {listener: free_port() for listener in matrix.LISTENERS}
    properties = listener_properties(materials, ports) | {"ssl.key.password": "key-secret", "ssl.client.auth": "none"}
    answers: list[object] = []
    caplog.set_level(logging.DEBUG)
    with KafkaBroker(config=properties) as broker:
        setup = matrix.Setup(ports, materials.trust, materials.certificates, materials.jwt)
        setup.prepare()
        token = materials.jwt("alice", "wrong")
        for attempt in (
            lambda client: login.plain(client, "alice", "guessed-secret"),
            lambda client: login.scram(client, "SCRAM-SHA-256", "alice", "guessed-secret"),
            lambda client: login.oauth(client, token),
            lambda client: login.plain(client, "guessed-secret" * 2, ""),
        ):
            with setup.connect("SASL_SSL") as client:
                answers.append(attempt(client))
        with setup.connect("SASL_PLAINTEXT") as client:
            login.plain(client, *matrix.ADMIN)
            hmac = client.request(CreateDelegationTokenRequest(max_lifetime_ms=-1), 2).hmac
            answers += _configs(client)
        answers += [repr(broker), repr(BrokerConfig.from_properties(properties))]
    secrets = {*matrix.PASSWORDS.values(), "guessed-secret", "key-secret", "a secret", NEW_SECRET, token}
    secrets |= {base64.b64encode(hmac).decode(), repr(bytes(hmac)), *(one for _, one in setup.tokens.values())}
    secrets |= {base64.b64encode(f"\0alice\0{matrix.PASSWORDS['alice']}".encode()).decode()}
    seen = caplog.text + "".join(map(str, answers))
    assert "INFO" in caplog.text
    assert {secret for secret in secrets if secret in seen} == set()


def _configs(client: WireClient) -> list[object]:
    """A secret is altered, then all configs are described with their synonyms."""
    config = IncrementalAlterConfigsRequest.Resource.Config(
        name=ALTERED, value=f'PlainLoginModule required user_alice="{NEW_SECRET}";'
    )
    changed = IncrementalAlterConfigsRequest.Resource(resource_type=BROKER, resource_name="1", configs=[config])
    altered = client.request(IncrementalAlterConfigsRequest(resources=[changed]), 1)
    described = DescribeConfigsRequest.Resource(resource_type=BROKER, resource_name="1", configuration_keys=None)
    answer = client.request(DescribeConfigsRequest(resources=[described], include_synonyms=True), 4)
    assert len(answer.results[0].configs) > 100
    return [altered, answer]


@pytest.mark.parametrize("key", ["sasl.jaas.config", "ssl.keystore.key", "ssl.keystore.certificate.chain"])
def test_a_bad_value_is_told_without_it(key: str, tmp_path: Path) -> None:
    name = f"listener.name.sasl_ssl.{'plain.' if 'jaas' in key else ''}{key}"
    properties = {
        "listeners": "SASL_SSL://127.0.0.1:0",
        "sasl.enabled.mechanisms": "PLAIN",
        "ssl.keystore.type": "PEM",
        "listener.name.sasl_ssl.ssl.keystore.certificate.chain": "none",
        name: "bad-secret = {",
    }
    with pytest.raises((ConfigError, StartupError)) as raised, KafkaBroker(config=properties):
        pass
    assert "bad-secret" not in str(raised.value)
