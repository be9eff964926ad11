"""Off-the-shelf clients at listeners with TLS and SASL: each mechanism that a client has, right and wrong."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import install
import pytest
import trustme
from compat_table import QUICK
from tests.security import matrix
from tests.security.materials import Materials
from tests.verified.record_security import free_port, listener_properties

from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

pytestmark = [pytest.mark.compat, pytest.mark.slow]

PROGRAM = Path(__file__).parent / "clients" / "secure.py"
TOPIC = "secrets"
WAYS = {
    "certificate": ("SSL", None, "served"),
    "stranger's certificate": ("SSL", None, "refused"),
    "PLAIN without TLS": ("SASL_PLAINTEXT", "PLAIN", "served"),
    "PLAIN": ("SASL_SSL", "PLAIN", "served"),
    "SCRAM-SHA-256": ("SASL_SSL", "SCRAM-SHA-256", "served"),
    "SCRAM-SHA-512": ("SASL_SSL", "SCRAM-SHA-512", "served"),
    "OAUTHBEARER": ("SASL_SSL", "OAUTHBEARER", "served"),
    "a wrong password": ("SASL_SSL", "SCRAM-SHA-512", "refused"),
    "no right": ("SASL_SSL", "PLAIN", "denied"),
}
LEFT_OUT = {
    ("kcat", "OAUTHBEARER"): "it has no way to be given a token",
    ("kafka_python_2", "no right"): "it asks for metadata again until its time is over",
}
NONCE_FIXED = (2, 6, 1)
"""kcat's librdkafka: an older one sends a wrong nonce, which Kafka refuses since 3.7.2 (CVE-2024-56128)."""
SECONDS = 120


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """What each way's client is told."""
    materials = Materials(tmp_path_factory.mktemp("materials"))
    ports = {listener: free_port() for listener in matrix.LISTENERS}
    properties = listener_properties(materials, ports) | {
        "super.users": "User:admin;User:alice",
        "listener.name.ssl.ssl.client.auth": "required",
    }
    with KafkaBroker(config=properties):
        matrix.Setup(ports, materials.trust, materials.certificates, materials.jwt).prepare()
        told = []
        for kind, (protocol, mechanism, _) in WAYS.items():
            user = "bob" if kind == "no right" else "alice"
            way: dict[str, Any] = {"kind": kind, "protocol": protocol, "mechanism": mechanism, "topic": TOPIC}
            way |= {"bootstrap": f"127.0.0.1:{ports[protocol]}", "ca": materials.trust, "user": user}
            way["password"] = "guessed" if "password" in kind else matrix.PASSWORDS[user]
            if protocol == "SSL":
                way["certificate"] = materials.certificates[user, "wrong" if "stranger" in kind else "right"]
            if mechanism == "OAUTHBEARER":
                way["token"] = materials.jwt(user, "right")
            told.append(way)
        yield told


@pytest.fixture(scope="module")
def runs(ways: list[dict[str, Any]]) -> Iterator[dict[str, Future[Any]]]:
    """All clients' programs, side by side."""
    with ThreadPoolExecutor(len(QUICK)) as pool:
        yield {client: pool.submit(run, client, asked_of(client, ways)) for client in QUICK}


def asked_of(client: str, ways: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [way for way in ways if (client, way["kind"]) not in LEFT_OUT]


def run(client: str, ways: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """The client's program at its ways; raises InstallError."""
    install.install(client)
    paths = [install.folder(client), PROGRAM.parent, PROGRAM.parent / client]
    return subprocess.run(
        [sys.executable, str(PROGRAM), client],
        input=json.dumps(ways),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@pytest.mark.parametrize("client", sorted(QUICK))
def test_who_may_come_in(client: str, ways: list[dict[str, Any]], runs: dict[str, Future[Any]]) -> None:
    try:
        done = runs[client].result()
    except install.InstallError as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    outcomes = {one["kind"]: one["outcome"] for one in map(json.loads, done.stdout.splitlines())}
    expected = {way["kind"]: WAYS[way["kind"]][2] for way in asked_of(client, ways)}
    if client == "kcat" and librdkafka_of_kcat() < NONCE_FIXED:
        expected |= {kind: "refused" for kind in expected if kind.startswith("SCRAM")}
    assert outcomes == expected, done.stderr[-500:]


def test_certificates_change_while_the_broker_runs() -> None:
    """kcat trusts the CA of the new certificate; who is connected stays so."""
    install.install("kcat")
    with KafkaBroker(tls=True) as broker:
        files = broker.tls
        new = trustme.CA()
        new.cert_pem.write_to_path(files.directory / "new-ca.pem")

        def lists(ca: str) -> bool:
            command = ["kcat", "-b", broker.bootstrap_servers, "-X", "security.protocol=SSL", "-L", "-m", "2"]
            return subprocess.run([*command, "-X", f"ssl.ca.location={ca}"], capture_output=True).returncode == 0

        with WireClient(broker.host, broker.port, tls=ssl.create_default_context(cafile=files.ca_file)) as connected:
            assert lists(files.ca_file)
            new.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(files.broker_file)
            assert lists(str(files.directory / "new-ca.pem"))
            assert not lists(files.ca_file)
            assert connected.request(MetadataRequest(topics=[]), 12).brokers


def test_a_token_and_its_reauthentication_with_java(request: pytest.FixtureRequest) -> None:
    """A delegation token over SCRAM (KIP-48), and a connection that outlives several sessions (KIP-368)."""
    if request.config.getoption("--clients", default="quick") == "quick":
        pytest.skip("Java takes part with --clients others")
    install.install("java_4")
    # A client begins again after 85 to 95 % of this; less than a second after the last time Kafka doesn't take it.
    config = {"delegation.token.secret.key": "a secret", "connections.max.reauth.ms": 2000}
    with KafkaBroker(users={"alice": "alice-secret"}, config=config) as broker:
        jars = f"{install.folder('java_4')}/*"
        command = ["java", "-cp", jars, str(PROGRAM.with_name("Secure.java")), broker.bootstrap_servers]
        done = subprocess.run(
            [*command, "alice", "alice-secret", TOPIC, "5"], capture_output=True, text=True, timeout=SECONDS
        )
    assert done.stdout.split("\n")[:-1] == [
        "owner User:alice",
        "described true",
        "reauthenticated true",
        "failed false",
        "reconnected false",
    ], done.stderr[-2000:]


def librdkafka_of_kcat() -> tuple[int, ...]:
    """Its version."""
    said = subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout
    found = re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)", said)
    assert found is not None, said
    return tuple(map(int, found.groups()))
