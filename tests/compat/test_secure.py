"""Off-the-shelf clients at listeners with TLS and SASL: each mechanism that a client has, right and wrong."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import install
import pytest
import secure_table
import trustme

from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

pytestmark = [pytest.mark.compat, pytest.mark.slow]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[dict[str, str]]]]:
    """All clients' programs, side by side."""
    with (
        secure_table.secured_broker(tmp_path_factory.mktemp("materials")) as ways,
        ThreadPoolExecutor(len(secure_table.CLIENTS)) as pool,
    ):
        yield {client: pool.submit(secure_table.outcomes, client, ways) for client in secure_table.CLIENTS}


@pytest.mark.parametrize("client", secure_table.CLIENTS)
def test_who_may_come_in(client: str, runs: dict[str, Future[Any]]) -> None:
    try:
        outcomes = runs[client].result()
    except install.InstallError as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    assert outcomes == secure_table.expected(client)


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
        command = ["java", "-cp", jars, str(secure_table.PROGRAM.with_name("Secure.java")), broker.bootstrap_servers]
        done = subprocess.run(
            [*command, "alice", "alice-secret", secure_table.TOPIC, "5"],
            capture_output=True,
            text=True,
            timeout=secure_table.SECONDS,
        )
    assert done.stdout.split("\n")[:-1] == [
        "owner User:alice",
        "described true",
        "reauthenticated true",
        "failed false",
        "reconnected false",
    ], done.stderr[-2000:]
