"""The table of ways to come in: TLS, SASL and ACLs with each client that can be asked, and what each way comes to.

The outcomes are Apache Kafka's (tests/security/apache_kafka.json holds them without clients). What runs in a client is
clients/secure.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import install
from compat_table import CLIENTS as ALL_CLIENTS
from compat_table import QUICK
from tests.security import matrix
from tests.security.materials import Materials
from tests.verified.record_security import free_port, listener_properties

from pykbroker.testing import KafkaBroker

PROGRAM = Path(__file__).parent / "clients" / "secure.py"
CLIENTS = tuple(client for client in ALL_CLIENTS if client in QUICK)
TOPIC = "secrets"
SECONDS = 120


class Way(NamedTuple):
    """A row: its words in the table, how a client comes, and what becomes of it."""

    title: str
    protocol: str
    mechanism: str | None
    outcome: str


WAYS: Mapping[str, Way] = {
    "certificate": Way("TLS with a client's certificate", "SSL", None, "served"),
    "stranger's certificate": Way("TLS with a stranger's certificate is refused", "SSL", None, "refused"),
    "PLAIN without TLS": Way("SASL PLAIN without TLS", "SASL_PLAINTEXT", "PLAIN", "served"),
    "PLAIN": Way("SASL PLAIN over TLS", "SASL_SSL", "PLAIN", "served"),
    "SCRAM-SHA-256": Way("SASL SCRAM-SHA-256 over TLS", "SASL_SSL", "SCRAM-SHA-256", "served"),
    "SCRAM-SHA-512": Way("SASL SCRAM-SHA-512 over TLS", "SASL_SSL", "SCRAM-SHA-512", "served"),
    "OAUTHBEARER": Way("SASL OAUTHBEARER over TLS", "SASL_SSL", "OAUTHBEARER", "served"),
    "a wrong password": Way("A wrong password is refused", "SASL_SSL", "SCRAM-SHA-512", "refused"),
    "no right": Way("Without a right in the ACLs it is denied", "SASL_SSL", "PLAIN", "denied"),
}
LEFT_OUT = {
    ("kcat", "OAUTHBEARER"): "it has no way to be given a token",
    ("kafka_python_2", "no right"): "it asks for metadata again until its time is over",
}
NONCE_FIXED = (2, 6, 1)
NONCE = "its librdkafka sends a wrong nonce, which Kafka refuses since 3.7.2 (CVE-2024-56128)"


@contextmanager
def secured_broker(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """A broker with every kind of listener; what each way's client is told."""
    materials = Materials(folder)
    ports = {listener: free_port() for listener in matrix.LISTENERS}
    properties = listener_properties(materials, ports) | {
        "super.users": "User:admin;User:alice",
        "listener.name.ssl.ssl.client.auth": "required",
    }
    with KafkaBroker(config=properties):
        matrix.Setup(ports, materials.trust, materials.certificates, materials.jwt).prepare()
        yield [_told(kind, ports, materials) for kind in WAYS]


def _told(kind: str, ports: Mapping[str, int], materials: Materials) -> dict[str, Any]:
    protocol, mechanism = WAYS[kind].protocol, WAYS[kind].mechanism
    user = "bob" if kind == "no right" else "alice"
    way: dict[str, Any] = {"kind": kind, "protocol": protocol, "mechanism": mechanism, "topic": TOPIC}
    way |= {"bootstrap": f"127.0.0.1:{ports[protocol]}", "ca": materials.trust, "user": user}
    way["password"] = "guessed" if "password" in kind else matrix.PASSWORDS[user]
    if protocol == "SSL":
        way["certificate"] = materials.certificates[user, "wrong" if "stranger" in kind else "right"]
    if mechanism == "OAUTHBEARER":
        way["token"] = materials.jwt(user, "right")
    return way


def left_out(client: str) -> dict[str, str]:
    """The ways that a client can't take, and why."""
    found = {kind: reason for (one, kind), reason in LEFT_OUT.items() if one == client}
    if client == "kcat" and _librdkafka_of_kcat() < NONCE_FIXED:
        found |= {kind: NONCE for kind, way in WAYS.items() if way.mechanism and way.mechanism.startswith("SCRAM")}
    return found


def expected(client: str) -> dict[str, str]:
    """What becomes of a client, by way."""
    missing = left_out(client)
    return {kind: way.outcome for kind, way in WAYS.items() if kind not in missing}


def outcomes(client: str, ways: list[dict[str, Any]]) -> dict[str, str]:
    """What becomes of a client's program at the ways that it can take; raises InstallError."""
    install.install(client)
    asked = [way for way in ways if way["kind"] in expected(client)]
    paths = [install.folder(client), PROGRAM.parent, PROGRAM.parent / client]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), client],
        input=json.dumps(asked),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    said = {one["kind"]: one["outcome"] for one in map(json.loads, done.stdout.splitlines())}
    return {way["kind"]: said.get(way["kind"], done.stderr[-500:]) for way in asked}


def run_all(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Every client that can be had, and what becomes of it at a broker of its own."""
    with secured_broker(folder) as ways, ThreadPoolExecutor(len(CLIENTS)) as pool:
        runs = {client: pool.submit(outcomes, client, ways) for client in CLIENTS}
        for client, run in runs.items():
            try:
                yield client, run.result()
            except install.InstallError as reason:
                print(f"{client} is left out: {reason}", file=sys.stderr)


@cache
def _librdkafka_of_kcat() -> tuple[int, ...]:
    """Its version."""
    said = subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout
    found = re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)", said)
    assert found is not None, said
    return tuple(map(int, found.groups()))
