"""The SASL mechanisms of a listener, from its config: which are enabled, who proves what, how long a session may last.

What a conversation says is decided in `security.sasl`; connections are `network.authentication`'s.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pykbroker.config.jaas import parse_jaas
from pykbroker.config.keys import ConfigError
from pykbroker.config.listener_config import ListenerConfig
from pykbroker.security.sasl import (
    MECHANISMS,
    OAUTHBEARER,
    PLAIN,
    Exchange,
    OAuthBearerExchange,
    PlainExchange,
    ScramExchange,
)
from pykbroker.server.credentials import Credentials, nonce

if TYPE_CHECKING:
    from pykbroker.config.broker import BrokerConfig
    from pykbroker.security.sasl import Validate

log = logging.getLogger(__name__)

JAAS = "sasl.jaas.config"


@dataclass(frozen=True, slots=True)
class MechanismConfig:
    """One mechanism as a listener serves it."""

    users: dict[str, str]
    max_reauth_ms: int

    def __repr__(self) -> str:
        return f"MechanismConfig({len(self.users)} users, {self.max_reauth_ms})"


class SaslListener:
    """The mechanisms of one listener."""

    def __init__(self, config: BrokerConfig, listener: str, credentials: Credentials) -> None:
        """Reads the listener's config; raises ConfigError."""
        self._credentials = credentials
        self._config = ListenerConfig(config, listener)
        self.failure_delay = config.connection_failed_authentication_delay_ms / 1000
        self.max_receive_size = config.sasl_server_max_receive_size
        enabled = self._config.value("sasl.enabled.mechanisms")
        self.mechanisms = [name for name in enabled if name in MECHANISMS]
        if not self.mechanisms:
            raise ConfigError(
                self._config.origin("sasl.enabled.mechanisms"),
                ",".join(enabled),
                f"listener {listener} needs at least one of {', '.join(MECHANISMS)}",
            )
        for name in enabled:
            if name not in MECHANISMS:
                log.warning("SASL mechanism %s isn't served: listener %s has %s", name, listener, self.mechanisms)
        self._by_name = {name: self._mechanism(name) for name in self.mechanisms}
        self._validate: Validate | None = None
        if OAUTHBEARER in self.mechanisms:
            from pykbroker.server.oauth import validator_for

            self._validate = validator_for(self._config)

    def _mechanism(self, name: str) -> MechanismConfig:
        text = self._config.value(JAAS, name)
        users: dict[str, str] = {}
        if text and name != OAUTHBEARER:
            try:
                users = parse_jaas(text).users
            except ValueError as error:
                raise ConfigError(self._config.origin(JAAS, name), "[hidden]", str(error)) from None
        return MechanismConfig(users, self._config.value("connections.max.reauth.ms", name))

    def exchange(self, mechanism: str) -> Exchange:
        """A new conversation of an enabled mechanism."""
        if mechanism == PLAIN:
            return PlainExchange(self._password_of)
        if mechanism == OAUTHBEARER and self._validate is not None:
            return OAuthBearerExchange(self._validate)
        return ScramExchange(mechanism, nonce(), partial(self._credentials.lookup, mechanism))

    def max_reauth_ms(self, mechanism: str) -> int:
        """`connections.max.reauth.ms`; 0 or less for no limit."""
        return self._by_name[mechanism].max_reauth_ms

    def _password_of(self, user: str) -> str | None:
        found = self._by_name[PLAIN].users.get(user)
        return found if found is not None else self._credentials.password_of(user)
