"""The way of one request from its frame to its answer: header, version, handler, errors.

Decides what an error becomes: a code in the answer where the API has a place for one, the end of the connection
where it hasn't. It never reads or writes a socket.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.connection import Answer, encode_response, parse_request_header
from pykbroker.protocol.errors import ErrorCode, KafkaError, UnsupportedRequest
from pykbroker.protocol.message import Message, Piece
from pykbroker.security.principal import ANONYMOUS
from pykbroker.server.authorizer import Authorizer, RequestAccess
from pykbroker.server.request import CloseConnection, Handler, RequestContext

if TYPE_CHECKING:
    from pykbroker.security.guard import Rule
    from pykbroker.server.services import Services

log = logging.getLogger(__name__)


class Peer:
    """Who is at the other end of a connection, as its requests' contexts name it."""

    __slots__ = (
        "client_host",
        "client_port",
        "connection_id",
        "listener",
        "local_address",
        "muted_until",
        "name",
        "principal",
    )

    def __init__(
        self, remote: tuple[str, int], local_address: tuple[str, int], listener: str, connection_id: int
    ) -> None:
        self.name = f"{remote[0]}:{remote[1]}"
        self.client_host = f"/{remote[0]}"
        self.client_port = remote[1]
        self.local_address = local_address
        self.listener = listener
        self.connection_id = connection_id
        self.principal = ANONYMOUS
        self.muted_until = 0.0
        """Until when, by the monotonic clock, its next request waits for a quota."""


class Dispatcher:
    """Finds each request's handler in the table of `apis` and encodes what it answers."""

    def __init__(self, services: Services, handlers: Mapping[int, Handler]) -> None:
        self._services = services
        self._handlers = handlers
        self._known: dict[int, Handler] = {}
        self._authorizer = services.authorizer if services is not None else None
        self._rules = _rules() if self._authorizer is not None else {}
        self._quotas = services.quotas if services is not None else None

    def _find(self, key: int) -> Handler | None:
        """The first request for an API finds its handler."""
        handler = self._handlers.get(key)
        if handler is not None:
            self._known[key] = handler
        return handler

    async def answer(self, frame: memoryview, peer: Peer) -> list[Piece] | None:
        """The answer's pieces, size first; None where the request asks for none (acks=0).

        Raises CloseConnection, and MalformedMessage for bytes that don't parse.
        """
        quotas = self._quotas
        if peer.muted_until and quotas is not None:
            await quotas.wait_muted(peer.muted_until)
            peer.muted_until = 0.0
        try:
            header, body = parse_request_header(frame)
        except UnsupportedRequest as unsupported:
            return self._unsupported(unsupported.key, unsupported.version, unsupported.correlation_id)
        key, version = header.request_api_key, header.request_api_version
        handler = self._known.get(key) or self._find(key)
        if handler is None or version not in handler.versions:
            return self._unsupported(key, version, header.correlation_id)
        request = handler.request.decode(frame, version, body)
        context = RequestContext(
            self._services,
            key,
            version,
            header.correlation_id,
            header.client_id,
            peer.client_host,
            peer.listener,
            peer.local_address,
            peer.connection_id,
            peer.principal,
            peer.client_port,
        )
        if quotas is None or not quotas.active:
            response = await self._respond(handler, request, context)
        else:
            respond = partial(self._respond, handler, request, context)
            response, throttle_ms = await quotas.metered(respond, request, context, len(frame))
            if throttle_ms:
                peer.muted_until = quotas.muted_until(throttle_ms)
        return None if response is None else encode_response(header.correlation_id, response, version)

    async def _respond(self, handler: Handler, request: Any, context: RequestContext) -> Answer | None:
        if self._authorizer is None:
            return await self._call(handler, request, context)
        return await self._guarded(handler, request, context, self._authorizer)

    def disconnected(self, peer: Peer) -> None:
        """A connection is gone: what is bound to it ends."""
        if self._services is not None:
            self._services.share_partitions.disconnected(peer.connection_id)
            if self._services.telemetry is not None:
                self._services.telemetry.disconnected(peer.connection_id)

    async def _guarded(
        self, handler: Handler, request: Any, context: RequestContext, authorizer: Authorizer
    ) -> Answer | None:
        """The handler's answer to what the client may ask; what it may not never reaches the handler."""
        rule = self._rules.get(context.api_key)
        if rule is None:
            return _error_answer(handler, ErrorCode.CLUSTER_AUTHORIZATION_FAILED, None)
        outcome = rule.check(request, RequestAccess(authorizer, context), handler.response)
        response: Answer | None
        if isinstance(outcome, Message):
            response = outcome
        else:
            response = await self._call(handler, request, context)
            if outcome is None:
                return response
            if response is not None:
                outcome(response)
        if response is None or (context.api_key == ApiKey.PRODUCE and request.acks == 0):
            raise CloseConnection(f"acks=0 was refused to {context.principal}")
        return response

    async def _call(self, handler: Handler, request: Any, context: RequestContext) -> Answer | None:
        try:
            response: Answer | None = await handler.call(request, context)
        except CloseConnection:
            raise
        except KafkaError as error:
            return _error_answer(handler, error.code, error.message)
        except Exception:
            name = handler.request.__name__
            log.exception("%s v%d of client %r failed", name, context.api_version, context.client_id)
            return _error_answer(handler, ErrorCode.UNKNOWN_SERVER_ERROR, None)
        return response

    def _unsupported(self, key: int, version: int, correlation_id: int) -> list[Piece]:
        """ApiVersions is answered in version 0 whatever was asked (KIP-511); anything else ends the connection."""
        if key != ApiKey.API_VERSIONS:
            name = ApiKey(key).name if key in ApiKey.__members__.values() else f"API key {key}"
            raise CloseConnection(f"{name} version {version} is not supported")
        handler = self._handlers[key]
        response = handler.response(error_code=ErrorCode.UNSUPPORTED_VERSION)
        response.api_keys = [
            handler.response.ApiKey(api_key=key, min_version=handler.versions.low, max_version=handler.versions.high)
        ]
        return encode_response(correlation_id, response, 0)


def _rules() -> Mapping[int, Rule]:
    from pykbroker.security.rules import RULES  # A broker that lets everyone do everything needs none.

    return RULES


def _error_answer(handler: Handler, code: ErrorCode, message: str | None) -> Message:
    fields = handler.response.fields
    if "error_code" not in fields:
        raise CloseConnection(f"{handler.request.__name__} failed with {code.name}")
    answer: Message = handler.response(error_code=code)
    if message is not None and "error_message" in fields:
        setattr(answer, "error_message", message)  # noqa: B010 - the class is known at run time only
    return answer
