"""Links between brokers that can be cut or go silent: relays in front of their inter-broker listeners."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable

_SOURCE = re.compile(rb"broker-(\d+)-")


class Relay:
    """Passes the bytes of other brokers on to one broker, and knows them by the client id of their first request."""

    def __init__(
        self, target: int, port: int, may_pass: Callable[[int, int], bool], is_silent: Callable[[int, int], bool]
    ) -> None:
        """`target` is the broker, listening at `port`; `may_pass(source, target)` says whether a link is up.

        Where `is_silent(source, target)` nobody hears that it is down: bytes wait, as those of a lost route do.
        """
        self.target = target
        self._target_port = port
        self._may_pass = may_pass
        self._is_silent = is_silent
        self._open: dict[socket.socket, int] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self.drop(lambda source: True)

    def drop(self, which: Callable[[int], bool]) -> None:
        """Ends the connections of some sources."""
        for sock, source in list(self._open.items()):
            if which(source):
                _shut(sock)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            first = b""
            try:
                while len(first) < 4 or len(first) < 4 + int.from_bytes(first[:4], "big"):
                    data = client.recv(65536)
                    if not data:
                        return
                    first += data
                found = _SOURCE.search(first[:200])
                source = int(found[1]) if found else 0
                if not self._may_pass(source, self.target):
                    return
                self._while_silent(source)
                with socket.create_connection(("127.0.0.1", self._target_port), 5) as broker:
                    broker.settimeout(None)
                    for sock in (client, broker):
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._open[client] = source
                    broker.sendall(first)
                    threading.Thread(target=self._pump, args=(broker, client, source), daemon=True).start()
                    self._pump(client, broker, source)
            except OSError:
                return
            finally:
                self._open.pop(client, None)

    def _pump(self, one: socket.socket, other: socket.socket, source: int) -> None:
        try:
            while data := one.recv(1 << 18):
                self._while_silent(source)
                other.sendall(data)
        except OSError:
            pass
        self._while_silent(source)
        _shut(one)
        _shut(other)

    def _while_silent(self, source: int) -> None:
        while self._is_silent(source, self.target):
            time.sleep(0.01)


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
