"""`python -m tests.verified.record_security`: runs Apache Kafka with every kind of listener and records what it does
with the clients of tests/security/matrix.py."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.security import matrix
from tests.security.materials import Materials
from tests.verified import apache_kafka

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
HANDLER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
MECHANISMS = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"


def plain_users() -> str:
    """The PLAIN users as a JAAS config."""
    users = " ".join(f'user_{name}="{password}"' for name, password in matrix.PASSWORDS.items())
    return f'{PLAIN} required username="admin" password="admin-secret" {users};'


def listener_properties(materials: Materials, ports: dict[str, int]) -> dict[str, str]:
    """What both brokers are told: listeners, certificates, mechanisms, ACLs."""
    properties = {
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
        "authorizer.class.name": AUTHORIZER,
        "super.users": "User:admin",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": materials.broker,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": materials.trust,
        "ssl.principal.mapping.rules": matrix.MAPPING_RULES,
        "listener.name.ssl.ssl.client.auth": "requested",
        "delegation.token.secret.key": "a secret",
        "connection.failed.authentication.delay.ms": "10",
        "sasl.enabled.mechanisms": MECHANISMS,
    }
    for name in ("sasl_plaintext", "sasl_ssl"):
        prefix = f"listener.name.{name}"
        properties[f"{prefix}.plain.sasl.jaas.config"] = plain_users()
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            properties[f"{prefix}.{mechanism}.sasl.jaas.config"] = f"{SCRAM} required;"
        properties[f"{prefix}.oauthbearer.sasl.jaas.config"] = f"{OAUTH} required;"
        properties[f"{prefix}.oauthbearer.sasl.server.callback.handler.class"] = HANDLER
    properties["sasl.oauthbearer.jwks.endpoint.url"] = materials.jwks.as_uri()
    return properties


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def main() -> None:
    """Records every cell."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        materials = Materials(folder)
        ports = {listener: free_port() for listener in matrix.LISTENERS}
        controller = free_port()
        properties = listener_properties(materials, ports)
        properties["listeners"] += f",CONTROLLER://127.0.0.1:{controller}"
        properties |= {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "SASL_PLAINTEXT",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": plain_users(),
            "listener.security.protocol.map": "CONTROLLER:SASL_PLAINTEXT,"
            + ",".join(f"{one}:{one}" for one in matrix.LISTENERS),
            "log.dirs": str(folder / "data"),
            "offsets.topic.replication.factor": "1",
        }
        config = folder / "server.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        java = apache_kafka.java(apache_kafka.VERSION)
        format_it = [*java, "kafka.tools.StorageTool", "format", "-t", apache_kafka.CLUSTER_ID, "-c", str(config)]
        subprocess.run(format_it, check=True, capture_output=True)
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={materials.jwks.as_uri()}"
        with open(folder / "out", "wb") as out:
            command = [java[0], allowed, *java[1:], "kafka.Kafka", str(config)]
            process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            record(matrix.Setup(ports, materials.trust, materials.certificates, materials.jwt, 1.0))
        except BaseException:
            print((folder / "out").read_text()[-4000:])
            raise
        finally:
            process.terminate()
            process.wait(30)


def record(setup: matrix.Setup) -> None:
    """Waits for the broker, asks, and writes what it did."""
    deadline = time.monotonic() + apache_kafka.START_SECONDS
    while True:
        try:
            setup.connect("SASL_PLAINTEXT").close()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    time.sleep(3)
    setup.prepare()
    said = {str(cell): matrix.outcome(cell, setup) for cell in matrix.cells()}
    matrix.RECORDED.write_text(json.dumps(said, indent=1) + "\n")
    print(f"{len(said)} cells recorded")


if __name__ == "__main__":
    main()
