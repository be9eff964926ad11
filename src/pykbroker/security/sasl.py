"""SASL on a connection: which message may come when, and what PLAIN, SCRAM and OAUTHBEARER make of it.

The states of a connection and of its exchanges are decided here; who knows passwords and checks tokens is handed in.
It never waits and never says whether a user exists.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple, Protocol

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.security.principal import USER, KafkaPrincipal
from pykbroker.security.scram import HASHES, Lookup, ScramError, ScramServer, WrongAuthorizationId

PLAIN, OAUTHBEARER = "PLAIN", "OAUTHBEARER"
MECHANISMS = (PLAIN, *HASHES, OAUTHBEARER)
"""What can be enabled."""
PASSWORD_MECHANISMS = (PLAIN, *HASHES)
"""Those that a name and a password are enough for."""


class State(Enum):
    """Where a connection stands."""

    INITIAL = "initial"
    HANDSHAKE = "handshake"
    AUTHENTICATE = "authenticate"
    READY = "ready"
    REAUTHENTICATE = "reauthenticate"
    FAILED = "failed"


class Event(Enum):
    """What happens on it."""

    VERSIONS = "ApiVersions"
    HANDSHAKE = "SaslHandshake"
    BAD_HANDSHAKE = "SaslHandshake refused"
    GO_ON = "another challenge"
    PROVED = "proved"
    REFUSED = "refused"


TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State.INITIAL, Event.VERSIONS): State.HANDSHAKE,
    (State.INITIAL, Event.HANDSHAKE): State.AUTHENTICATE,
    (State.INITIAL, Event.BAD_HANDSHAKE): State.FAILED,
    (State.HANDSHAKE, Event.HANDSHAKE): State.AUTHENTICATE,
    (State.HANDSHAKE, Event.BAD_HANDSHAKE): State.FAILED,
    (State.AUTHENTICATE, Event.GO_ON): State.AUTHENTICATE,
    (State.AUTHENTICATE, Event.PROVED): State.READY,
    (State.AUTHENTICATE, Event.REFUSED): State.FAILED,
    (State.READY, Event.HANDSHAKE): State.REAUTHENTICATE,
    (State.READY, Event.BAD_HANDSHAKE): State.FAILED,
    (State.REAUTHENTICATE, Event.GO_ON): State.REAUTHENTICATE,
    (State.REAUTHENTICATE, Event.PROVED): State.READY,
    (State.REAUTHENTICATE, Event.REFUSED): State.FAILED,
}
"""Every step that there is; anything else ends the connection. FAILED lasts until the answer is out."""

EVENT_OF = {ApiKey.API_VERSIONS: Event.VERSIONS, ApiKey.SASL_HANDSHAKE: Event.HANDSHAKE}
MIN_REAUTHENTICATION_SECONDS = 1.0
"""A client that begins anew more often is answered as if it had no business to (KIP-368)."""


class SaslFailure(Exception):
    """Authentication failed; `told` is what the client may know, the text itself is for the log."""

    def __init__(self, reason: str, told: str | None = None) -> None:
        super().__init__(reason)
        self.told = told


class Proved(NamedTuple):
    """Who the client is, and until when its credential is good, in ms since 1970."""

    principal: KafkaPrincipal
    expires_ms: int | None = None


class Step(NamedTuple):
    """What an exchange answers; `proved` ends it."""

    answer: bytes
    proved: Proved | None = None


class Exchange(Protocol):
    """One conversation of one mechanism."""

    async def respond(self, token: bytes) -> Step:
        """The answer to the client's next token; raises SaslFailure."""
        ...


class PlainExchange:
    """PLAIN (RFC 4616): one message with name and password."""

    def __init__(self, password_of: Callable[[str], str | None]) -> None:
        self._password_of = password_of

    async def respond(self, token: bytes) -> Step:
        """Name and password are right, or not."""
        parts = token.decode("utf-8", "replace").split("\0", 3)
        if len(parts) != 3:
            raise _told(f"Invalid SASL/PLAIN response: expected 3 tokens, got {len(parts)}")
        authorization_id, name, password = parts
        if not name:
            raise _told("Authentication failed: username not specified")
        if not password:
            raise _told("Authentication failed: password not specified")
        expected = self._password_of(name)
        # Compared in any case: how long the answer takes says nothing of whether there is such a user.
        same = hmac.compare_digest((expected or "").encode(), password.encode())
        if expected is None or not same:
            raise _told("Authentication failed: Invalid username or password")
        if authorization_id not in ("", name):
            raise _told("Authentication failed: Client requested an authorization id that is different from username")
        return Step(b"", Proved(KafkaPrincipal(USER, name)))


class ScramExchange:
    """SCRAM: two messages from each side."""

    def __init__(self, mechanism: str, nonce: str, lookup: Lookup) -> None:
        self._server = ScramServer(mechanism, nonce, lookup)
        self._answered = False

    async def respond(self, token: bytes) -> Step:
        """The first message has no proof, the second has to be right."""
        try:
            if not self._answered:
                self._answered = True
                return Step(self._server.first(token))
            answer, found = self._server.final(token)
        except WrongAuthorizationId as error:
            raise _told(str(error)) from None
        except ScramError as error:
            raise SaslFailure(str(error)) from None
        principal = KafkaPrincipal(USER, found.owner, self._server.token_authenticated)
        return Step(answer, Proved(principal, found.expires_ms))


class TokenRefused(Exception):
    """An OAuth token isn't good; the text is for the log."""


_OAUTH = re.compile(rb"n,(?:a=([^,]*))?,\x01((?:[A-Za-z]+=[\x21-\x7e \t\r\n]+\x01)*)\x01")
_BEARER = re.compile(r"[Bb]earer +([-_\.a-zA-Z0-9]+)")
_REFUSED = b'{"status":"invalid_token"}'


class OAuthBearerExchange:
    """OAUTHBEARER (RFC 7628): one message with a token; a refusal is confirmed by the client before it is final."""

    def __init__(self, validate: Validate) -> None:
        self._validate = validate
        self._refused = False

    async def respond(self, token: bytes) -> Step:
        """The token is good, or not."""
        if self._refused and token == b"\x01":
            raise _told(_REFUSED.decode())
        message = _OAUTH.fullmatch(token)
        if message is None:
            raise SaslFailure("the client's first message has an invalid format")
        pairs = dict(pair.partition("=")[::2] for pair in message[2].decode().split("\x01") if pair)
        bearer = _BEARER.fullmatch(pairs.get("auth", ""))
        if bearer is None:
            raise SaslFailure("the client's first message has no bearer token")
        try:
            proved = await self._validate(bearer[1])
        except TokenRefused:
            self._refused = True
            return Step(_REFUSED)
        authorization_id = (message[1] or b"").decode("utf-8", "replace")
        if authorization_id not in ("", proved.principal.name):
            name = proved.principal.name
            raise _told(
                f"Authentication failed: Client requested an authorization id ({authorization_id}) that is different "
                f"from the token's principal name ({name})"
            )
        return Step(b"", proved)


class Validate(Protocol):
    """Checks an OAuth token."""

    async def __call__(self, token: str) -> Proved:
        """Who it is for; raises TokenRefused."""
        ...


def _told(message: str) -> SaslFailure:
    return SaslFailure(message, message)


class Session:
    """A connection's way through the states; it holds the exchange in hand and who was proved."""

    def __init__(self) -> None:
        self.state = State.INITIAL
        self.mechanism = ""
        self.exchange: Exchange | None = None
        self.framed = False
        """Whether tokens come in SaslAuthenticate requests (SaslHandshake 1), not raw (0)."""
        self.proved: Proved | None = None
        self.expires_at: float | None = None
        """When requests are no longer served without another authentication, on the monotonic clock."""
        self._began_again: float | None = None

    @property
    def authenticated(self) -> bool:
        """Whether requests may be served."""
        return self.state is State.READY

    @property
    def text(self) -> str:
        """What is going on, as Kafka calls it."""
        return "authentication" if self.proved is None else "re-authentication"

    def happened(self, event: Event) -> bool:
        """Takes a step; False where there is no such step from here."""
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            return False
        self.state = after
        return True

    def may_begin_again(self, now: float) -> bool:
        """Whether a handshake on a connection in use begins a re-authentication: at most once a second."""
        if self._began_again is not None and now - self._began_again < MIN_REAUTHENTICATION_SECONDS:
            return False
        self._began_again = now
        return True

    def wrong_mechanism(self, mechanism: str) -> str | None:
        """What is wrong with a mechanism at re-authentication."""
        if self.proved is None or mechanism == self.mechanism:
            return None
        return (
            f"SASL mechanism '{mechanism}' requested by client is not supported for re-authentication of mechanism "
            f"'{self.mechanism}'"
        )

    def prove(self, proved: Proved, now: float, now_ms: int, max_reauth_ms: int) -> int:
        """Accepts who the client is; how long its session lasts in ms, 0 for ever. Raises SaslFailure (KIP-368)."""
        if self.proved is not None and proved.principal[:2] != self.proved.principal[:2]:
            old, new = self.proved.principal, proved.principal
            raise _told(
                f"Cannot change principals during re-authentication from {old.kind}.{old.name}: {new.kind}.{new.name}"
            )
        self.proved, self.exchange, self.expires_at = proved, None, None
        limits = [] if proved.expires_ms is None else [proved.expires_ms - now_ms]
        limits += [max_reauth_ms] if max_reauth_ms > 0 else []
        if not limits:
            return 0
        lifetime = max(0, min(limits))
        self.expires_at = now + lifetime / 1000
        return lifetime
