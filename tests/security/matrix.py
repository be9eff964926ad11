"""Every listener type × mechanism × credential × right, as one client sees it: what a broker says, in a line.

`outcome` holds one conversation with any broker that was set up as `Setup` says: pykbroker's are compared with those
that Apache Kafka 4.3.0 gave (`apache_kafka.json`, recorded by tests/verified/record_security.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.security import login

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.alter_user_scram_credentials import AlterUserScramCredentialsRequest
from pykbroker.protocol.messages.create_acls import CreateAclsRequest
from pykbroker.protocol.messages.create_delegation_token import CreateDelegationTokenRequest
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.expire_delegation_token import ExpireDelegationTokenRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.security.acl import Operation, PatternType, Permission, ResourceType
from pykbroker.testing.client import WireClient

RECORDED = Path(__file__).parent / "apache_kafka.json"

LISTENERS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "TOKEN")
"""TOKEN is a delegation token, proved by SCRAM-SHA-256."""
CREDENTIALS = ("right", "wrong", "missing", "expired")
ALLOWED, DENIED = "alice", "bob"
ADMIN = ("admin", "admin-secret")
TOPIC = "matrix"
PASSWORDS = {"alice": "alice-secret", "bob": "bob-secret", "admin": "admin-secret"}
MAPPING_RULES = "RULE:^CN=([^,]*),.*$/$1/,DEFAULT"


class Cell(NamedTuple):
    """One way to come."""

    listener: str
    mechanism: str
    credential: str
    user: str

    def __str__(self) -> str:
        return " ".join(self)


def cells() -> Iterator[Cell]:
    """All of them; passwords don't expire, and a plaintext listener asks for nothing."""
    for listener in LISTENERS:
        mechanisms = MECHANISMS if listener.startswith("SASL") else ("CERTIFICATE" if listener == "SSL" else "NONE",)
        for mechanism in mechanisms:
            for credential in CREDENTIALS:
                if mechanism == "NONE" and credential != "missing":
                    continue
                if mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512") and credential == "expired":
                    continue
                for user in (ALLOWED, DENIED):
                    yield Cell(listener, mechanism, credential, user)


@dataclass
class Setup:
    """A broker, and what its clients hold in their hands."""

    ports: Mapping[str, int]
    trust: str
    """The CA's certificate."""
    certificates: Mapping[tuple[str, str], str]
    """Clients' PEM files by user and kind: right, wrong (of another CA), expired."""
    jwt: Any
    """(user, kind) → a token."""
    patience: float = 0.0
    """Seconds: Apache Kafka's broker learns of its controller's records a little later."""
    tokens: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """Delegation tokens by user and kind: id and secret."""

    def connect(self, listener: str, certificate: str | None = None) -> WireClient:
        """A connection; raises OSError where TLS fails."""
        tls = None
        if listener.endswith("SSL"):
            tls = ssl.create_default_context(cafile=self.trust)
            if certificate is not None:
                tls.load_cert_chain(certificate)
        return WireClient("127.0.0.1", self.ports[listener], tls=tls, timeout=20)

    def prepare(self) -> None:
        """A topic that alice alone may use, SCRAM users, delegation tokens: as the super user would make them."""
        with self.connect("SASL_PLAINTEXT") as client:
            assert login.plain(client, *ADMIN).error_code == 0
            topic = CreateTopicsRequest.Topic(name=TOPIC, num_partitions=1, replication_factor=1)
            client.request(CreateTopicsRequest(topics=[topic], timeout_ms=10_000), 7)
            acl = CreateAclsRequest.Creation(
                resource_type=ResourceType.TOPIC,
                resource_name=TOPIC,
                resource_pattern_type=PatternType.LITERAL,
                principal=f"User:{ALLOWED}",
                host="*",
                operation=Operation.DESCRIBE,
                permission_type=Permission.ALLOW,
            )
            assert client.request(CreateAclsRequest(creations=[acl]), 3).results[0].error_code == 0
            for number in (1, 2):
                assert {one.error_code for one in client.request(_scram_users(number), 0).results} == {0}
        for user in (ALLOWED, DENIED):
            with self.connect("SASL_PLAINTEXT") as client:
                assert login.plain(client, user, PASSWORDS[user]).error_code == 0
                for kind in ("right", "expired"):
                    made = client.request(CreateDelegationTokenRequest(max_lifetime_ms=-1), 3)
                    assert made.error_code == 0, made.error_code
                    self.tokens[user, kind] = made.token_id, base64.b64encode(made.hmac).decode()
                time.sleep(self.patience)
                ended = client.request(ExpireDelegationTokenRequest(hmac=made.hmac, expiry_time_period_ms=-1), 2)
                assert ended.error_code == 0, ended.error_code
        time.sleep(self.patience)


def _scram_users(number: int) -> AlterUserScramCredentialsRequest:
    name = {1: "sha256", 2: "sha512"}[number]
    upsertions = [
        AlterUserScramCredentialsRequest.Upsertion(
            name=user,
            mechanism=number,
            iterations=4096,
            salt=b"salt",
            salted_password=hashlib.pbkdf2_hmac(name, PASSWORDS[user].encode(), b"salt", 4096),
        )
        for user in (ALLOWED, DENIED)
    ]
    return AlterUserScramCredentialsRequest(upsertions=upsertions)


def outcome(cell: Cell, setup: Setup) -> str:
    """What the broker does: served, denied, or how it refuses."""
    certificate = setup.certificates.get((cell.user, cell.credential)) if cell.mechanism == "CERTIFICATE" else None
    try:
        with setup.connect(cell.listener, certificate) as client:
            refused = _log_in(cell, client, setup)
            return _use(client) if refused is None else refused
    except (ConnectionError, ssl.SSLError, TimeoutError) as error:
        return "handshake refused" if isinstance(error, ssl.SSLError) or cell.listener == "SSL" else "closed"


def _log_in(cell: Cell, client: WireClient, setup: Setup) -> str | None:
    """How a login is refused; None where it isn't, or isn't needed."""
    mechanism, credential, user = cell.mechanism, cell.credential, cell.user
    if mechanism in ("NONE", "CERTIFICATE"):
        return None
    name = "nobody" if credential == "missing" else user
    password = "guessed" if credential == "wrong" else PASSWORDS[user]
    if mechanism == "PLAIN":
        answer = login.plain(client, name, password)
    elif mechanism == "OAUTHBEARER":
        answer = login.oauth(client, setup.jwt(user, credential))
    elif mechanism == "TOKEN":
        token_id, secret = setup.tokens[user, "expired" if credential == "expired" else "right"]
        token_id = "nobody" if credential == "missing" else token_id
        secret = "guessed" if credential == "wrong" else secret
        answer = login.scram(client, "SCRAM-SHA-256", token_id, secret, token=True)
    else:
        answer = login.scram(client, mechanism, name, password)
    if answer.error_code == 0:
        return None
    message = getattr(answer, "error_message", None)
    return f"{ErrorCode(answer.error_code).name}: {message}"


def _use(client: WireClient) -> str:
    """Whether the topic may be described."""
    request = MetadataRequest(topics=[MetadataRequest.Topic(name=TOPIC)], allow_auto_topic_creation=False)
    (topic,) = client.request(request, 12).topics
    code = ErrorCode(topic.error_code)
    return "served" if code == ErrorCode.NONE else f"denied: {code.name}"


def recorded() -> dict[str, str]:
    """What Apache Kafka did in each cell."""
    found: dict[str, str] = json.loads(RECORDED.read_text())
    return found
