"""SASL on a connection: which frames are part of the conversation, and what they are answered.

The states are `security.sasl`'s, who knows passwords is `server.sasl`. Before a client is proved nothing but
ApiVersions and the handshake is parsed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import trio

from pykbroker.network.dispatch import Dispatcher, Peer
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.connection import encode_response, parse_request_header
from pykbroker.protocol.errors import ErrorCode, UnsupportedRequest
from pykbroker.protocol.message import Piece
from pykbroker.protocol.messages import message_classes
from pykbroker.protocol.messages.sasl_authenticate import SaslAuthenticateRequest, SaslAuthenticateResponse
from pykbroker.protocol.messages.sasl_handshake import SaslHandshakeRequest, SaslHandshakeResponse
from pykbroker.security.sasl import EVENT_OF, Event, SaslFailure, Session, State, Step
from pykbroker.server.request import CloseConnection

if TYPE_CHECKING:
    from pykbroker.protocol.header import RequestHeader
    from pykbroker.server.clock import Clock
    from pykbroker.server.sasl import SaslListener

log = logging.getLogger(__name__)

FIRST_FRAMED = 1
"""The version of SaslHandshake from which on tokens come in SaslAuthenticate requests (KIP-152)."""
HANDSHAKE_KEY = ApiKey.SASL_HANDSHAKE.to_bytes(2, "big")
NOT_KAFKA = (
    "invalid request, potential reasons: a client configured with the wrong security protocol, or no Kafka client"
)


class Authentication:
    """One connection's SASL conversation, and its re-authentications."""

    def __init__(self, sasl: SaslListener, dispatcher: Dispatcher, peer: Peer, clock: Clock) -> None:
        self._sasl = sasl
        self._dispatcher = dispatcher
        self._peer = peer
        self._clock = clock
        self._session = Session()
        self.max_receive_size = sasl.max_receive_size

    @property
    def authenticated(self) -> bool:
        """Whether the client has proved who it is."""
        return self._session.authenticated

    def takes(self, frame: memoryview) -> bool:
        """Whether a frame belongs to the conversation; raises CloseConnection for one after the session's end.

        On a connection in use a handshake begins another authentication (KIP-368), at most once a second.
        """
        session = self._session
        if not session.authenticated:
            return True
        now = self._clock.monotonic()
        if bytes(frame[:2]) == HANDSHAKE_KEY and session.may_begin_again(now):
            return True
        if session.expires_at is not None and now > session.expires_at:
            raise CloseConnection(f"the session of {self._peer.principal} has expired")
        return False

    async def answer(self, frame: memoryview) -> list[Piece] | None:
        """The answer to a frame of the conversation. Raises CloseConnection, MalformedMessage."""
        session = self._session
        if session.state in (State.AUTHENTICATE, State.REAUTHENTICATE):
            return await (self._request(frame) if session.framed else self._raw(frame))
        try:
            header, body = parse_request_header(frame)
        except UnsupportedRequest as unsupported:
            if unsupported.key == ApiKey.API_VERSIONS and session.state is State.INITIAL:
                return await self._dispatcher.answer(frame, self._peer)
            raise CloseConnection(NOT_KAFKA) from None
        event = EVENT_OF.get(ApiKey(header.request_api_key))
        if event is None:
            what = NOT_KAFKA if session.state is State.INITIAL else "only the SASL handshake may come now"
            raise CloseConnection(f"{ApiKey(header.request_api_key).name} before authentication: {what}")
        if event is Event.VERSIONS:
            if not session.happened(event):
                raise CloseConnection("ApiVersions for the second time before authentication")
            return await self._dispatcher.answer(frame, self._peer)
        return self._handshake(header, SaslHandshakeRequest.decode(frame, header.request_api_version, body))

    def failure(self) -> float:
        """How many seconds the answer to a failed authentication is held back; then the connection ends."""
        return self._sasl.failure_delay if self._session.state is State.FAILED else -1.0

    def _handshake(self, header: RequestHeader, request: SaslHandshakeRequest) -> list[Piece]:
        session, mechanism = self._session, request.mechanism
        response = SaslHandshakeResponse(mechanisms=list(self._sasl.mechanisms))
        if mechanism not in self._sasl.mechanisms:
            session.happened(Event.BAD_HANDSHAKE)
            log.info("connection from %s asks for the SASL mechanism %.64r", self._peer.name, mechanism)
            response.error_code = ErrorCode.UNSUPPORTED_SASL_MECHANISM
        else:
            wrong = session.wrong_mechanism(mechanism)
            session.happened(Event.HANDSHAKE)
            session.framed = header.request_api_version >= FIRST_FRAMED
            session.exchange = self._sasl.exchange(mechanism) if wrong is None else None
            if wrong is None:
                session.mechanism = mechanism
        return encode_response(header.correlation_id, response, header.request_api_version)

    async def _raw(self, token: memoryview) -> list[Piece]:
        """A token that is the whole frame, after SaslHandshake 0. A failure has no answer."""
        try:
            step, _ = await self._step(bytes(token))
        except SaslFailure as failure:
            await trio.sleep(self._sasl.failure_delay)
            raise CloseConnection(f"authentication failed: {failure}") from None
        return [len(step.answer).to_bytes(4, "big"), step.answer]

    async def _request(self, frame: memoryview) -> list[Piece]:
        header, body = parse_request_header(frame)
        version = header.request_api_version
        if header.request_api_key != ApiKey.SASL_AUTHENTICATE:
            return self._unexpected(header)
        request = SaslAuthenticateRequest.decode(frame, version, body)
        response = SaslAuthenticateResponse(error_message=None)
        try:
            step, lifetime = await self._step(bytes(request.auth_bytes))
            response.auth_bytes = step.answer
            if version >= 1:
                response.session_lifetime_ms = lifetime
        except SaslFailure as failure:
            self._session.happened(Event.REFUSED)
            log.info("connection from %s: %s failed: %s", self._peer.name, self._session.text, failure)
            response.error_code = ErrorCode.SASL_AUTHENTICATION_FAILED
            response.error_message = failure.told or (
                f"Authentication failed during {self._session.text} due to invalid credentials with SASL mechanism "
                f"{self._session.mechanism}"
            )
        return encode_response(header.correlation_id, response, version)

    async def _step(self, token: bytes) -> tuple[Step, int]:
        """What the exchange answers, and how long the session may last once it is proved."""
        session = self._session
        if session.exchange is None:
            raise CloseConnection("re-authentication with another SASL mechanism")
        step = await session.exchange.respond(token)
        if step.proved is None:
            session.happened(Event.GO_ON)
            return step, 0
        clock, limit = self._clock, self._sasl.max_reauth_ms(session.mechanism)
        lifetime = session.prove(step.proved, clock.monotonic(), clock.now_ms(), limit)
        session.happened(Event.PROVED)
        self._peer.principal = step.proved.principal
        return step, lifetime

    def _unexpected(self, header: RequestHeader) -> list[Piece]:
        """Another request between tokens: told so in its own way, where its answer has an error code."""
        response: Any = message_classes(header.request_api_key)[1]
        name = ApiKey(header.request_api_key).name
        self._session.happened(Event.REFUSED)
        if "error_code" not in response.fields:
            raise CloseConnection(f"{name} during SASL authentication")
        answer = response(error_code=ErrorCode.ILLEGAL_SASL_STATE)
        return encode_response(header.correlation_id, answer, header.request_api_version)
