"""One task a client: read a frame, have it answered, send the answer, in this order for ever.

Kafka too serves a connection's requests one at a time; the loop gives its order and TCP's backpressure. An error ends
this connection alone, with one log line that says what was wrong and from where.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from pykbroker.network.dispatch import Dispatcher, Peer
from pykbroker.network.frames import BadFrame, FrameReader, Stall, send_pieces
from pykbroker.network.listener import close
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.security.ssl_principal import NoRule
from pykbroker.server.request import CloseConnection

if TYPE_CHECKING:
    from pykbroker.network.authentication import Authentication
    from pykbroker.network.tls import TlsListener

log = logging.getLogger(__name__)


class Connection:
    """A client's connection, from accept to close."""

    def __init__(
        self,
        sock: socket.socket,
        peer: Peer,
        dispatcher: Dispatcher,
        max_request_size: int,
        *,
        tls: TlsListener | None = None,
        authentication: Authentication | None = None,
    ) -> None:
        self.peer = peer
        self._socket = sock
        self._dispatcher = dispatcher
        self._max_request_size = max_request_size
        self._tls = tls
        self._authentication = authentication
        self._stall = Stall()
        self._send = send_pieces
        self._say_goodbye: Callable[[], None] = lambda: None
        self._reader = FrameReader(sock, max_request_size, self._stall)
        self._scope = trio.CancelScope()
        self._stopping = False
        self.last_used = trio.current_time()

    @property
    def idle(self) -> bool:
        """True while no request is being read, served or answered."""
        return self._reader.waiting

    @property
    def authenticated(self) -> bool:
        """Whether requests may be served."""
        return self._tls is None and (self._authentication is None or self._authentication.authenticated)

    @property
    def waits_since(self) -> float | None:
        """Since when it has waited for its client: for a request, for the rest of one, or to take an answer."""
        return self.last_used if self.idle else self._stall.since

    @property
    def closing(self) -> bool:
        """Whether it was told to end."""
        return self._stopping or self._scope.cancel_called

    def close(self) -> None:
        """Ends the connection at once."""
        self._scope.cancel()

    def stop(self) -> None:
        """Ends the connection after the request in hand."""
        self._stopping = True
        if self.idle:
            self.close()

    async def serve(self) -> None:
        """Serves until the client closes, something is wrong, or the broker stops."""
        try:
            with self._scope:
                if self._tls is not None:
                    await self._shake_hands(self._tls)
                await self._serve()
        except (BadFrame, MalformedMessage, CloseConnection, NoRule) as error:
            log.warning("connection from %s closed: %s", self.peer.name, error)
        except OSError as error:
            log.debug("connection from %s lost: %s", self.peer.name, error)
        except Exception:
            log.exception("connection from %s closed by an error", self.peer.name)
        finally:
            trio.lowlevel.notify_closing(self._socket)
            self._say_goodbye()
            close(self._socket)
            self._dispatcher.disconnected(self.peer)

    async def _shake_hands(self, tls: TlsListener) -> None:
        from pykbroker.network.tls import TlsFrameReader, say_goodbye, send_encrypted, shake_hands

        try:
            encrypted = await shake_hands(self._socket, tls.context())
        except (OSError, trio.TooSlowError) as error:
            raise CloseConnection(f"TLS handshake failed: {getattr(error, 'reason', None) or error}") from None
        self._socket, self._send = encrypted, send_encrypted
        self._say_goodbye = partial(say_goodbye, encrypted)
        self._reader = TlsFrameReader(encrypted, self._max_request_size, self._stall)
        self.peer.principal = tls.principal(encrypted)
        self._tls = None

    async def _serve(self) -> None:
        reader, dispatcher, peer = self._reader, self._dispatcher, self.peer
        authentication, send, stall = self._authentication, self._send, self._stall
        if authentication is not None:
            self._limit(authentication)
        while not self._stopping:
            frame = await reader.next_frame()
            if frame is None:
                return
            self.last_used = trio.current_time()
            if authentication is not None and authentication.takes(frame):
                if not await self._authenticate(authentication, frame):
                    return
                continue
            pieces = await dispatcher.answer(frame, peer)
            if pieces is not None:
                await send(self._socket, pieces, stall)
            del frame, pieces  # They would hold the reader's buffer while the client says nothing.
            if not reader.waited:  # A client that always has the next request ready must not keep the others waiting.
                await trio.lowlevel.checkpoint()

    async def _authenticate(self, authentication: Authentication, frame: memoryview) -> bool:
        """Answers a frame of the SASL conversation; False where it has failed."""
        pieces = await authentication.answer(frame)
        delay = authentication.failure()
        if delay > 0:
            await trio.sleep(delay)
        if pieces is not None:
            await self._send(self._socket, pieces, self._stall)
        self._limit(authentication)
        return delay < 0

    def _limit(self, authentication: Authentication) -> None:
        """Small frames only, as long as nobody has proved who it is."""
        if authentication.authenticated:
            self._reader.limit(self._max_request_size, "socket.request.max.bytes")
        else:
            self._reader.limit(authentication.max_receive_size, "sasl.server.max.receive.size")
