"""What a listener's security protocol asks of each connection: TLS, SASL, both or nothing."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pykbroker.config.listener_config import ListenerConfig
from pykbroker.network.connection import Connection
from pykbroker.network.dispatch import Dispatcher, Peer

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig
    from pykbroker.config.listeners import Listener
    from pykbroker.network.tls import TlsListener
    from pykbroker.server.clock import Clock
    from pykbroker.server.credentials import Credentials
    from pykbroker.server.sasl import SaslListener


class ListenerSecurity:
    """One listener's way of letting clients in."""

    def __init__(
        self,
        config: BrokerConfig,
        *,
        tls: TlsListener | None = None,
        sasl: SaslListener | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._max_request_size = config.socket_request_max_bytes
        self._tls = tls
        self._sasl = sasl
        self._clock = clock

    def connection(self, sock: socket.socket, peer: Peer, dispatcher: Dispatcher) -> Connection:
        """A connection that is served once its client has done what the listener asks for."""
        authentication = None
        if self._sasl is not None and self._clock is not None:
            from pykbroker.network.authentication import Authentication

            authentication = Authentication(self._sasl, dispatcher, peer, self._clock)
        return Connection(sock, peer, dispatcher, self._max_request_size, tls=self._tls, authentication=authentication)


class Securities:
    """What each listener asks of its clients."""

    def __init__(self, config: BrokerConfig, credentials: Credentials, clock: Clock) -> None:
        """Reads the certificates of the listeners that there are; raises ConfigError."""
        self._config = config
        self._credentials = credentials
        self._clock = clock
        self._made = {one: self.make(one, config) for one in config.broker_listeners}

    def take(self, listener: Listener) -> ListenerSecurity:
        """For a listener that is opened now; raises ConfigError."""
        return self._made.pop(listener, None) or self.make(listener, self._config)

    def make(self, listener: Listener, config: BrokerConfig) -> ListenerSecurity:
        """What a config, of now or of later, says; raises ConfigError."""
        return _security(config, listener, self._credentials, self._clock)


def _security(config: BrokerConfig, listener: Listener, credentials: Credentials, clock: Clock) -> ListenerSecurity:
    protocol = listener.security_protocol
    tls = sasl = None
    if protocol.endswith("SSL"):
        from pykbroker.network.tls import TlsListener

        tls = TlsListener(ListenerConfig(config, listener.name), sasl=protocol == "SASL_SSL")
    if protocol.startswith("SASL_"):
        from pykbroker.server.sasl import SaslListener

        sasl = SaslListener(config, listener.name, credentials)
    return ListenerSecurity(config, tls=tls, sasl=sasl, clock=clock)
