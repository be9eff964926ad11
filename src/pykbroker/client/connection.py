"""One connection to a broker: TCP, TLS, ApiVersions, SASL, then requests one after the other.

Every request goes in the highest version that both sides know. It knows no other broker and retries nothing: an error
ends the connection, as does a request that is given up while its answer is under way.
"""

from __future__ import annotations

import math
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from pykbroker.client.errors import (
    AuthenticationFailed,
    ClientError,
    ClosedAtOnce,
    ConnectionLost,
    NobodyLogsIn,
    NoKafka,
    NotSupported,
    TimedOut,
    TlsFailed,
    Unreachable,
)
from pykbroker.client.settings import MECHANISMS, ClientSettings, SaslSettings, TlsSettings
from pykbroker.config.listeners import endpoint_text
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.connection import decode_response, encode_request
from pykbroker.protocol.errors import ErrorCode, MalformedMessage, UnbuildableMessage
from pykbroker.protocol.message import Message, as_bytes
from pykbroker.protocol.messages import message_classes
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from pykbroker.protocol.messages.sasl_authenticate import SaslAuthenticateRequest
from pykbroker.protocol.messages.sasl_handshake import SaslHandshakeRequest

if TYPE_CHECKING:
    import ssl

MAX_RESPONSE = 256 << 20
"""Bytes of an answer; four bytes of something that is no Kafka broker mostly say more."""
REAUTHENTICATE_AT = 0.85
"""The part of a session's lifetime after which the user proves itself again (KIP-368)."""
SOFTWARE = "pykbroker"

_SIZE = struct.Struct(">i")


class Versioned(NamedTuple):
    """A request whose shape depends on its version: its API, what builds it, and the highest version to build."""

    key: int
    build: Callable[[int], Message]
    highest: int = 32767


class Connection:
    """An open connection. `versions` has what the broker offers: API key → lowest, highest."""

    def __init__(self, stream: trio.abc.Stream, address: tuple[str, int], settings: ClientSettings) -> None:
        self.address = address
        self.versions: dict[int, tuple[int, int]] = {}
        self.api_versions = ApiVersionsResponse()
        self.closed = False
        self.in_use = trio.Lock()
        self._stream = stream
        self._settings = settings
        self._buffer = bytearray()
        self._correlation_id = 0
        self._mechanism = ""
        self._expires = math.inf

    def version_of(self, key: int, limit: int = 32767) -> int:
        """The highest version of an API, up to a limit, that both sides know. Raises NotSupported."""
        known = message_classes(key)[0].versions
        lowest, highest = self.versions.get(key, (1, 0))
        version = min(highest, known.high, limit)
        if version < max(lowest, known.low):
            raise NotSupported(f"the broker at {self} doesn't serve {api_name(key)}")
        return version

    async def call(self, request: Message | Versioned, timeout: float | None = None) -> Any:
        """The answer. Raises NotSupported, ConnectionLost, TimedOut, NoKafka; ClientError for values that can't be."""
        async with self.in_use:
            if trio.current_time() >= self._expires and self._settings.sasl is not None:
                await self._authenticate(self._settings.sasl, self._mechanism)
            if isinstance(request, Versioned):
                version = self.version_of(request.key, request.highest)
                return await self._exchange(request.build(version), version, timeout)
            return await self._exchange(request, self.version_of(type(request).key), timeout)

    async def send_only(self, request: Message) -> None:
        """Sends a request that no answer follows: Produce with acks=0."""
        async with self.in_use:
            pieces = self._encoded(request, self.version_of(type(request).key))
            with _giving_up(self, self._settings.request_timeout, type(request).key):
                await self._send(pieces)

    async def _exchange(self, request: Message, version: int, timeout: float | None = None) -> Any:
        key = type(request).key
        frame = await self._round_trip(request, version, timeout)
        try:
            answered, response = decode_response(frame, key, version)
        except MalformedMessage as error:
            raise self._no_kafka(f"its answer to {api_name(key)} v{version} can't be read: {error}") from None
        if answered != self._correlation_id:
            raise self._no_kafka(f"it answers request {answered}, not {self._correlation_id}")
        return response

    def _no_kafka(self, reason: str) -> NoKafka:
        self.abort()
        return NoKafka(f"{self} speaks no Kafka: {reason}")

    async def _round_trip(self, request: Message, version: int, timeout: float | None) -> bytes:
        pieces = self._encoded(request, version)
        with _giving_up(self, timeout or self._settings.request_timeout, type(request).key):
            await self._send(pieces)
            (size,) = _SIZE.unpack(await self._exactly(_SIZE.size))
            if not 4 <= size <= MAX_RESPONSE:
                raise self._no_kafka(f"an answer of {size} bytes")
            return await self._exactly(size)

    def _encoded(self, request: Message, version: int) -> bytes:
        self._correlation_id += 1
        try:
            pieces = encode_request(request, version, self._correlation_id, self._settings.client_id)
        except UnbuildableMessage as error:
            if version == type(request).versions.high:
                raise ClientError(str(error)) from None  # No version could say it: a number too large, say.
            name = api_name(type(request).key)
            raise NotSupported(f"the broker at {self} serves {name} up to version {version} only: {error}") from None
        return b"".join(map(as_bytes, pieces))

    async def _send(self, data: bytes) -> None:
        if self.closed:
            raise ConnectionLost(f"the connection to {self} is closed")
        await self._stream.send_all(data)

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = await self._stream.receive_some(max(65536, size - len(self._buffer)))
            if not data:
                raise trio.BrokenResourceError
            self._buffer += data
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    async def negotiate(self) -> None:
        """Asks for the versions that the broker offers, as every client does first (KIP-511)."""
        self.versions = {ApiKey.API_VERSIONS: (0, 4)}
        request = ApiVersionsRequest(client_software_name=SOFTWARE, client_software_version="1")
        version = 4
        async with self.in_use:
            frame = await self._round_trip(request, version, None)
            if len(frame) >= 6 and int.from_bytes(frame[4:6], "big") == ErrorCode.UNSUPPORTED_VERSION:
                # The body is that of version 0, whatever was asked for.
                version = 0
                frame = await self._round_trip(request, version, None)
        try:
            self.api_versions = ApiVersionsResponse.decode(frame, version, 4)
        except MalformedMessage as error:
            raise self._no_kafka(str(error)) from None
        if self.api_versions.error_code:
            raise self._no_kafka(ErrorCode(self.api_versions.error_code).name)
        self.versions = {api.api_key: (api.min_version, api.max_version) for api in self.api_versions.api_keys}

    async def authenticate(self, sasl: SaslSettings, mechanism: str) -> None:
        """Lets the user in. Raises AuthenticationFailed, OtherMechanisms where the broker has not this one."""
        async with self.in_use:
            await self._authenticate(sasl, mechanism)

    async def _authenticate(self, sasl: SaslSettings, mechanism: str) -> None:
        from pykbroker.client.sasl import exchange

        handshake = SaslHandshakeRequest(mechanism=mechanism)
        answer = await self._exchange(handshake, self.version_of(ApiKey.SASL_HANDSHAKE))
        if answer.error_code == ErrorCode.UNSUPPORTED_SASL_MECHANISM:
            raise OtherMechanisms(mechanism, tuple(answer.mechanisms))
        if answer.error_code == ErrorCode.ILLEGAL_SASL_STATE:
            raise NobodyLogsIn(str(self))
        if answer.error_code:
            raise AuthenticationFailed(f"{self} doesn't take {mechanism}: {ErrorCode(answer.error_code).name}")
        version = self.version_of(ApiKey.SASL_AUTHENTICATE)
        talk = exchange(mechanism, sasl, secrets.token_urlsafe(24))
        step = next(talk)
        while True:
            asked = trio.current_time()
            answer = await self._exchange(SaslAuthenticateRequest(auth_bytes=step), version)
            if answer.error_code:
                who = sasl.user or "the token"
                raise AuthenticationFailed(f"{self} refuses {who}: {answer.error_message or 'no reason given'}")
            try:
                step = talk.send(answer.auth_bytes)
            except StopIteration:
                break
        self._mechanism = mechanism
        lifetime = answer.session_lifetime_ms / 1000
        self._expires = asked + lifetime * REAUTHENTICATE_AT if lifetime else math.inf

    def release(self) -> trio.abc.Stream:
        """The stream, for whoever goes on with it in another way; nothing is under way on it."""
        self.closed = True
        return self._stream

    def abort(self) -> None:
        """Makes the connection useless for anybody else; `aclose` frees it."""
        self.closed = True

    async def aclose(self) -> None:
        """Closes the connection at once."""
        self.closed = True
        await trio.aclose_forcefully(self._stream)

    def __str__(self) -> str:
        return endpoint_text(*self.address)


class OtherMechanisms(AuthenticationFailed):
    """The listener doesn't have the mechanism that was asked for; `offered` are those it has."""

    def __init__(self, asked: str, offered: tuple[str, ...]) -> None:
        super().__init__(f"the broker doesn't offer {asked}, but {', '.join(offered) or 'nothing'}")
        self.offered = offered


@contextmanager
def _giving_up(connection: Connection, timeout: float, key: int) -> Iterator[None]:
    """A request that isn't finished in time, or cancelled, leaves a connection that nobody can use."""
    try:
        with trio.fail_after(timeout):
            yield
    except trio.TooSlowError:
        connection.abort()
        raise TimedOut(f"no answer to {api_name(key)} from {connection} in {timeout:g} s") from None
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        connection.abort()
        raise ConnectionLost(f"{connection} closed the connection") from None
    except BaseException:
        connection.abort()
        raise


async def open_connection(address: tuple[str, int], settings: ClientSettings) -> Connection:
    """A connection that is ready for requests.

    Raises Unreachable, TlsFailed, AuthenticationFailed, NoKafka, ClosedAtOnce, ConnectionLost, TimedOut.
    """
    sasl = settings.sasl
    mechanism = _first_mechanism(sasl) if sasl is not None else ""
    while True:
        connection = Connection(await _open_stream(address, settings), address, settings)
        try:
            await connection.negotiate()
            if sasl is not None:
                await connection.authenticate(sasl, mechanism)
        except OtherMechanisms as other:
            await connection.aclose()
            following = _common_mechanism(sasl, other.offered)
            if following is None or following == mechanism:
                raise
            mechanism = following
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await connection.aclose()
            if isinstance(error, ConnectionLost) and not connection.versions.get(ApiKey.METADATA):
                raise ClosedAtOnce(f"{connection} closes a new connection without an answer") from None
            raise
        else:
            return connection


def _first_mechanism(sasl: SaslSettings) -> str:
    if sasl.mechanism is not None:
        return sasl.mechanism
    return "OAUTHBEARER" if sasl.token else MECHANISMS[0]


def _common_mechanism(sasl: SaslSettings | None, offered: tuple[str, ...]) -> str | None:
    if sasl is None or sasl.mechanism is not None or sasl.token:
        return None
    return next((name for name in MECHANISMS[:3] if name in offered), None)


async def _open_stream(address: tuple[str, int], settings: ClientSettings) -> trio.abc.Stream:
    host, port = address
    text = endpoint_text(host, port)
    context = tls_context(settings.tls) if settings.tls is not None else None
    try:
        with trio.fail_after(settings.request_timeout):
            stream = await trio.open_tcp_stream(host, port)
    except trio.TooSlowError:
        raise Unreachable(text, f"no connection in {settings.request_timeout:g} s") from None
    except OSError as error:
        raise Unreachable(text, _reason(error)) from None
    if context is None:
        return stream
    tls = trio.SSLStream(stream, context, server_hostname=host)
    try:
        with trio.fail_after(settings.request_timeout):
            await tls.do_handshake()
    except BaseException as error:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(tls)
        if isinstance(error, trio.TooSlowError):
            raise TlsFailed(f"{text} doesn't answer the TLS handshake") from None
        if isinstance(error, trio.BrokenResourceError):
            raise TlsFailed(_tls_reason(text, error.__cause__)) from None
        raise
    return tls


def _tls_reason(address: str, cause: BaseException | None) -> str:
    import ssl

    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate of {address} isn't trusted: {cause.verify_message}"
    reason = cause.reason if isinstance(cause, ssl.SSLError) else None
    return f"no TLS with {address}: {(reason or 'it closed the connection').replace('_', ' ').lower()}"


def _reason(error: OSError) -> str:
    """The system's own words; trio hides them in a group where several addresses were tried."""
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    first = cause if isinstance(cause, OSError) else error
    return os.strerror(first.errno).lower() if first.errno and first.errno > 0 else first.strerror or str(first)


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """What the stdlib makes of the settings. Raises TlsFailed for a file that can't be used."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=settings.ca, cadata=settings.ca_pem)
        context.check_hostname = settings.check_host
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key, settings.key_password)
    except FileNotFoundError:
        missing = " or ".join(filter(None, (settings.ca, settings.certificate, settings.key)))
        raise TlsFailed(f"{missing}: no such file") from None
    except (ssl.SSLError, OSError) as error:
        files = ", ".join(filter(None, (settings.ca, settings.certificate, settings.key)))
        raise TlsFailed(f"{files or 'the certificates'} can't be used as PEM: {error}") from None
    return context


def api_name(key: int) -> str:
    """An API's name as Kafka writes it: `DescribeGroups`."""
    return message_classes(key)[0].__name__.removesuffix("Request")
