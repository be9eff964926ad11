"""Where the cluster is, and how to get in: Kafka's client keys, as a `--command-config` file holds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pykbroker.client.errors import BadSettings
from pykbroker.config.listeners import endpoint_text

MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER")
"""What this client speaks, the best for a user with a password first."""

_PROTOCOLS = {
    "PLAINTEXT": (False, False),
    "SSL": (True, False),
    "SASL_PLAINTEXT": (False, True),
    "SASL_SSL": (True, True),
}
_JAAS_OPTION = re.compile(r"""(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s;]+))""")
_STORES = ("ssl.truststore.type", "ssl.keystore.type")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Paths of PEM files, or PEM text (`*_pem`); without a CA the system's are trusted."""

    ca: str | None = None
    ca_pem: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = None
    check_host: bool = True


@dataclass(frozen=True, slots=True)
class SaslSettings:
    """A user with a password, or a token. No mechanism: the best that the broker offers."""

    mechanism: str | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_auth: bool = False
    """The user is a delegation token's id, the password its HMAC (KIP-48)."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Everything that a connection is opened with. Times are in seconds."""

    bootstrap: tuple[tuple[str, int], ...] = (("127.0.0.1", 9092),)
    client_id: str = "pykbroker"
    tls: TlsSettings | None = None
    sasl: SaslSettings | None = None
    request_timeout: float = 30.0
    timeout: float = 60.0
    """For an operation with all its retries."""

    @property
    def bootstrap_text(self) -> str:
        """The addresses as they were given."""
        return ",".join(endpoint_text(host, port) for host, port in self.bootstrap)


def parse_bootstrap(text: str) -> tuple[tuple[str, int], ...]:
    """`HOST:PORT,HOST:PORT`; without a port 9092. Raises BadSettings."""
    found: list[tuple[str, int]] = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        host, colon, port = word.rpartition(":")
        if not colon or (word.startswith("[") and word.endswith("]")):
            host, port = word, "9092"
        if not host or not port.isdecimal() or not 0 < int(port) <= 65535:
            raise BadSettings(f"bootstrap {word!r}: expected HOST:PORT")
        found.append((host.strip("[]"), int(port)))
    if not found:
        raise BadSettings("bootstrap: expected HOST:PORT")
    return tuple(found)


def settings_of(properties: Mapping[str, str], default_bootstrap: str = "127.0.0.1:9092") -> ClientSettings:
    """The settings that Kafka's client keys come to; keys for other parts of a client are passed over.

    Raises BadSettings for a value that can't be used.
    """
    protocol = properties.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in _PROTOCOLS:
        raise BadSettings(f"security.protocol {protocol!r}: expected one of {', '.join(_PROTOCOLS)}")
    tls, sasl = _PROTOCOLS[protocol]
    return ClientSettings(
        bootstrap=parse_bootstrap(properties.get("bootstrap.servers") or default_bootstrap),
        client_id=properties.get("client.id", "pykbroker"),
        tls=_tls(properties) if tls else None,
        sasl=_sasl(properties) if sasl else None,
        request_timeout=_seconds(properties, "request.timeout.ms", 30.0),
        timeout=_seconds(properties, "default.api.timeout.ms", 60.0),
    )


def _seconds(properties: Mapping[str, str], key: str, default: float) -> float:
    text = properties.get(key)
    if text is None:
        return default
    if not text.isdecimal():
        raise BadSettings(f"{key} {text!r}: expected a number of milliseconds")
    return int(text) / 1000


def _tls(properties: Mapping[str, str]) -> TlsSettings:
    for key in _STORES:
        if properties.get(key, "PEM").upper() != "PEM":
            raise BadSettings(f"{key} {properties[key]}: expected PEM (keystores can be exported with keytool)")
        location = key.replace(".type", ".location")
        if key not in properties and properties.get(location, "").endswith((".jks", ".p12")):
            raise BadSettings(f"{location}: expected a PEM file and {key}=PEM")
    keystore = properties.get("ssl.keystore.location")
    if not keystore and properties.get("ssl.keystore.key"):
        raise BadSettings("ssl.keystore.key: put key and certificate into a PEM file; see ssl.keystore.location")
    return TlsSettings(
        ca=properties.get("ssl.truststore.location"),
        ca_pem=properties.get("ssl.truststore.certificates"),
        certificate=keystore,
        key_password=properties.get("ssl.key.password"),
        check_host=bool(properties.get("ssl.endpoint.identification.algorithm", "https").strip()),
    )


def _sasl(properties: Mapping[str, str]) -> SaslSettings:
    mechanism: str | None = properties.get("sasl.mechanism")
    jaas = properties.get("sasl.jaas.config", "")
    if mechanism is not None and mechanism not in MECHANISMS:
        raise BadSettings(f"sasl.mechanism {mechanism}: this client speaks {', '.join(MECHANISMS)}")
    options = {match[1]: _jaas_value(match) for match in _JAAS_OPTION.finditer(jaas)}
    if mechanism is None and "PlainLoginModule" in jaas:
        mechanism = "PLAIN"
    return SaslSettings(
        mechanism=mechanism,
        user=options.get("username", ""),
        password=options.get("password", ""),
        token_auth=options.get("tokenauth", "").lower() == "true",
    )


def _jaas_value(match: re.Match[str]) -> str:
    if match[2] is not None:
        return re.sub(r"\\(.)", r"\1", match[2])
    return match[3] if match[3] is not None else match[4]
