"""One task a client: read a frame, have it answered, send the answer, in this order for ever.

Kafka too serves a connection's requests one at a time; the loop gives its order and TCP's backpressure. An error ends
this connection alone, with one log line that says what was wrong and from where.
"""

from __future__ import annotations

import logging
import socket

import trio

from pykbroker.network.dispatch import Dispatcher, Peer
from pykbroker.network.frames import BadFrame, FrameReader, send_pieces
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.server.request import CloseConnection

log = logging.getLogger(__name__)


class Connection:
    """A client's connection, from accept to close."""

    def __init__(self, sock: socket.socket, peer: Peer, dispatcher: Dispatcher, max_request_size: int) -> None:
        self.peer = peer
        self._socket = sock
        self._dispatcher = dispatcher
        self._reader = FrameReader(sock, max_request_size)
        self._scope = trio.CancelScope()
        self._stopping = False
        self.last_used = trio.current_time()

    @property
    def idle(self) -> bool:
        """True while no request is being read, served or answered."""
        return self._reader.waiting

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
                await self._serve()
        except (BadFrame, MalformedMessage, CloseConnection) as error:
            log.warning("connection from %s closed: %s", self.peer.name, error)
        except OSError as error:
            log.debug("connection from %s lost: %s", self.peer.name, error)
        except Exception:
            log.exception("connection from %s closed by an error", self.peer.name)
        finally:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._dispatcher.disconnected(self.peer)

    async def _serve(self) -> None:
        reader, dispatcher, peer = self._reader, self._dispatcher, self.peer
        while not self._stopping:
            frame = await reader.next_frame()
            if frame is None:
                return
            self.last_used = trio.current_time()
            pieces = await dispatcher.answer(frame, peer)
            if pieces is not None:
                await send_pieces(self._socket, pieces)
            if not reader.waited:  # A client that always has the next request ready must not keep the others waiting.
                await trio.lowlevel.checkpoint()
