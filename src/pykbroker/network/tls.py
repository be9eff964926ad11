"""TLS for listeners, from PEM files or texts as in KIP-651: contexts, handshakes, frames in and pieces out.

A listener's context is made anew when one of its files has changed; connections that are there keep theirs. Nothing
polls: the files are looked at when a client connects. It works on OpenSSL's own socket, without a copy between.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from pykbroker.config.keys import ConfigError
from pykbroker.network.frames import FrameReader, Stall
from pykbroker.protocol.message import Piece
from pykbroker.security.ssl_principal import MappingRules, distinguished_name
from pykbroker.storage.file_slice import FileSlice

if TYPE_CHECKING:
    from pykbroker.config.listener_config import ListenerConfig
    from pykbroker.security.principal import KafkaPrincipal

log = logging.getLogger(__name__)

PEM = "PEM"
CLIENT_AUTH = {"none": ssl.CERT_NONE, "requested": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
HANDSHAKE_SECONDS = 30.0
"""A client that hasn't shaken hands by then is let go."""
CHUNK = 1 << 18
"""So much of a log file is read at a time, as sendfile can't encrypt."""


class TlsListener:
    """The TLS side of one listener."""

    def __init__(self, config: ListenerConfig, *, sasl: bool) -> None:
        """Makes the first context; raises ConfigError in one line for a person."""
        self._config = config
        auth = str(config.value("ssl.client.auth"))
        if sasl and not config.is_own("ssl.client.auth"):
            auth = "none"  # SASL proves the client; its own prefix turns certificates on as well (KIP-684).
        self._client_auth = CLIENT_AUTH[auth]
        self._rules = MappingRules(config.value("ssl.principal.mapping.rules"))
        self._seen: list[tuple[int, int, int] | None] | None = self._stamps()
        self._context = self._make()
        config.subscribe(self._config_changed)

    def _config_changed(self, changed: frozenset[str]) -> None:
        """Has the next client find other certificates where the config names others, or the same ones again."""
        if any(".ssl." in name or name.startswith("ssl.") for name in changed):
            self._seen = None

    def context(self) -> ssl.SSLContext:
        """The context for the next client. Files that can't be used are logged, and the old context stays."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            try:
                self._context = self._make()
                log.info("listener %s uses the changed certificates", self._config.name)
            except ConfigError as error:
                log.error("listener %s keeps its certificates: %s", self._config.name, error)
        return self._context

    def principal(self, sock: ssl.SSLSocket) -> KafkaPrincipal:
        """Who the client's certificate says it is; ANONYMOUS without one."""
        certificate: Any = sock.getpeercert()
        name = distinguished_name(certificate.get("subject", ())) if certificate else None
        return self._rules.principal(name)

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        found: list[tuple[int, int, int] | None] = []
        for key in ("ssl.keystore.location", "ssl.truststore.location"):
            path = self._config.value(key)
            if not path:
                continue
            try:
                stat = os.stat(path)
                found.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
            except OSError:
                found.append(None)
        return found

    def _make(self) -> ssl.SSLContext:
        config = self._config
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = self._client_auth
        enabled = [VERSIONS[name] for name in config.value("ssl.enabled.protocols") if name in VERSIONS]
        if not enabled:
            raise self._wrong("ssl.enabled.protocols", f"must be some of {', '.join(VERSIONS)}")
        context.minimum_version, context.maximum_version = min(enabled), max(enabled)
        ciphers = [cipher_name(name) for name in config.value("ssl.cipher.suites")]
        if ciphers:
            try:
                context.set_ciphers(":".join(ciphers))
            except ssl.SSLError:
                raise self._wrong("ssl.cipher.suites", "OpenSSL has none of these cipher suites") from None
        self._load_key(context)
        self._load_trust(context)
        return context

    def _load_key(self, context: ssl.SSLContext) -> None:
        config = self._config
        password = config.value("ssl.key.password")
        location, chain = config.value("ssl.keystore.location"), config.value("ssl.keystore.certificate.chain")
        if location is None and chain is None:
            raise self._wrong(
                "ssl.keystore.location",
                "a TLS listener needs a certificate: a PEM file with key and chain here, or ssl.keystore.key and "
                "ssl.keystore.certificate.chain",
            )
        self._check_type("ssl.keystore.type")
        try:
            if location is not None:
                context.load_cert_chain(location, password=password or "")
            else:
                with _file(config.value("ssl.keystore.key") or "", chain) as path:
                    context.load_cert_chain(path, password=password or "")
        except (OSError, ValueError) as error:
            key = "ssl.keystore.location" if location is not None else "ssl.keystore.certificate.chain"
            raise self._wrong(key, f"can't be used as PEM key and certificate chain: {_reason(error)}") from None

    def _load_trust(self, context: ssl.SSLContext) -> None:
        config = self._config
        location, texts = config.value("ssl.truststore.location"), config.value("ssl.truststore.certificates")
        if location is None and texts is None:
            if self._client_auth != ssl.CERT_NONE:
                context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
            return
        self._check_type("ssl.truststore.type")
        try:
            if location is not None:
                context.load_verify_locations(location)
            else:
                context.load_verify_locations(cadata=texts.replace("\\n", "\n"))
        except (OSError, ValueError) as error:
            key = "ssl.truststore.location" if location is not None else "ssl.truststore.certificates"
            raise self._wrong(key, f"can't be used as PEM certificates: {_reason(error)}") from None

    def _check_type(self, key: str) -> None:
        kind = self._config.value(key)
        if kind.upper() != PEM:
            raise ConfigError(
                self._config.origin(key),
                kind,
                "only PEM is served: set it to PEM, and turn a keystore into a PEM file with "
                "`keytool -importkeystore … -deststoretype PKCS12` and `openssl pkcs12 -in store.p12 -out store.pem`",
            )

    def _wrong(self, key: str, allowed: str) -> ConfigError:
        secret = key in ("ssl.keystore.certificate.chain", "ssl.truststore.certificates")
        return ConfigError(self._config.origin(key), "[hidden]" if secret else self._config.value(key), allowed)


def cipher_name(name: str) -> str:
    """OpenSSL's name of a cipher suite of Java's: `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384`."""
    if "_WITH_" not in name:
        return name
    exchange, _, cipher = name.removeprefix("TLS_").partition("_WITH_")
    cipher = re.sub(r"AES_(\d+)", r"AES\1", cipher).replace("CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305")
    cipher = cipher.replace("_CBC", "")
    return "-".join([*([] if exchange == "RSA" else [exchange.replace("_", "-")]), cipher.replace("_", "-")])


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error).replace("_", " ").lower()


@contextmanager
def _file(*texts: str) -> Iterator[str]:
    """Texts as a file that nobody else can read, gone right afterwards: OpenSSL takes keys from files alone."""
    with tempfile.NamedTemporaryFile(prefix="pykbroker-") as file:
        file.write("\n".join(text.replace("\\n", "\n") for text in texts).encode())
        file.flush()
        yield file.name


async def shake_hands(sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The socket, encrypted. Raises OSError (ssl.SSLError among them), trio.TooSlowError."""
    wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    try:
        with trio.fail_after(HANDSHAKE_SECONDS):
            while True:
                try:
                    wrapped.do_handshake()
                    return wrapped
                except ssl.SSLWantReadError:
                    await trio.lowlevel.wait_readable(wrapped)
                except ssl.SSLWantWriteError:
                    await trio.lowlevel.wait_writable(wrapped)
    except BaseException:
        trio.lowlevel.notify_closing(wrapped)
        wrapped.close()
        raise


def say_goodbye(sock: ssl.SSLSocket) -> None:
    """Tells the client that nothing was cut off, without waiting for its answer."""
    try:
        sock.unwrap()
    except (OSError, ValueError):
        pass


class TlsFrameReader(FrameReader):
    """Reads frames from an encrypted socket."""

    async def _receive(self, limit: int) -> int:
        while True:
            try:
                count = self._socket.recv_into(self._view[self._end : limit])
            except ssl.SSLWantReadError:
                await self._wait(trio.lowlevel.wait_readable)
                continue
            except ssl.SSLWantWriteError:
                await self._wait(trio.lowlevel.wait_writable)
                continue
            self._end += count
            return count


async def send_encrypted(sock: socket.socket, pieces: Sequence[Piece], stall: Stall) -> None:
    """Sends an answer: neighbouring bytes at once, file slices piece by piece. Raises OSError."""
    gathered: list[bytes | bytearray | memoryview] = []
    for piece in pieces:
        if isinstance(piece, FileSlice):
            await _send(sock, b"".join(gathered), stall)
            gathered = []
            for at in range(0, len(piece), CHUNK):
                await _send(sock, _read(piece, at, min(CHUNK, len(piece) - at)), stall)
        elif isinstance(piece, (bytes, bytearray, memoryview)):
            gathered.append(piece)
        else:
            gathered.append(piece.read())
    await _send(sock, b"".join(gathered), stall)


def _read(piece: FileSlice, at: int, size: int) -> bytes:
    data = os.pread(piece.fileno(), size, piece.position + at)
    if len(data) < size:
        raise OSError(f"a log file ends {size - len(data)} bytes before its index says")
    return data


async def _send(sock: socket.socket, data: bytes, stall: Stall) -> None:
    sent, view = 0, memoryview(data)
    while sent < len(data):
        try:
            sent += sock.send(view[sent:])
        except ssl.SSLWantWriteError:
            await stall.wait(trio.lowlevel.wait_writable, sock)
        except ssl.SSLWantReadError:
            await stall.wait(trio.lowlevel.wait_readable, sock)
