"""OAUTHBEARER's tokens: JWTs checked by PyJWT against a JSON Web Key Set from a file or an address.

Keys are fetched when a token needs them, and again when they are old or a token names one that isn't there; a failed
fetch refuses a token whose key isn't known, and nothing else. Tokens without a signature are taken only where the
config names Kafka's class for them.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import trio

from pykbroker.config.keys import ConfigError
from pykbroker.security.principal import USER, KafkaPrincipal
from pykbroker.security.sasl import OAUTHBEARER, Proved, TokenRefused

if TYPE_CHECKING:
    from pykbroker.config.listener_config import ListenerConfig
    from pykbroker.security.sasl import Validate

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a key pair: whoever can check one can't make one."""
HANDLER, URL = "sasl.server.callback.handler.class", "sasl.oauthbearer.jwks.endpoint.url"
UNSECURED = "OAuthBearerUnsecuredValidatorCallbackHandler"
FETCH_SECONDS = 10.0
MISSING_KEY_SECONDS = 10.0
"""An unknown key id has the keys fetched again at most this often."""
MAX_KEYS_BYTES = 1 << 20


def validator_for(config: ListenerConfig) -> Validate:
    """What checks a listener's tokens; raises ConfigError."""
    handler = config.value(HANDLER, OAUTHBEARER) or ""
    if handler.endswith(UNSECURED):
        log.warning("listener %s takes OAuth tokens without a signature: anybody can make one", config.name)
        return UnsecuredTokens(config)
    url = config.value(URL, OAUTHBEARER)
    if not url:
        raise ConfigError(
            config.origin(URL, OAUTHBEARER),
            None,
            "OAUTHBEARER needs the address of a JSON Web Key Set (https://… or file:///…); to take tokens without a "
            f"signature set {HANDLER} to org.apache.kafka.common.security.oauthbearer.internals.unsecured.{UNSECURED}",
        )
    try:
        import jwt  # noqa: F401 - looked for now, so that its absence is known at the start
    except ImportError:
        raise ConfigError(
            config.origin("sasl.enabled.mechanisms"), OAUTHBEARER, "needs PyJWT: pip install 'PyJWT[crypto]'"
        ) from None
    return SignedTokens(config, KeySet(url, config.value("sasl.oauthbearer.jwks.endpoint.refresh.ms", OAUTHBEARER)))


class KeySet:
    """A JSON Web Key Set somewhere, as it was when last fetched."""

    def __init__(self, url: str, refresh_ms: int) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "file"):
            raise ConfigError(URL, url, "must begin with https://, http:// or file:///")
        self._url = url
        self._path = unquote(parts.path) if parts.scheme == "file" else None
        self._refresh_seconds = refresh_ms / 1000
        self._keys: dict[str | None, Any] = {}
        self._fetched_at = -1.0
        self._stamp: tuple[int, int] | None = None
        self._fetching = trio.Lock()

    async def key(self, key_id: str | None) -> Any:
        """A key by its id, the only one for a token that names none; None for none. Raises OSError, ValueError."""
        async with self._fetching:
            if self._stale(key_id):
                try:
                    await self._fetch()
                except (OSError, ValueError) as error:
                    if self._path is not None or self._known(key_id) is None:
                        raise
                    log.warning("the keys for OAuth tokens can't be had now, those known stay good: %s", error)
                    self._fetched_at = time.monotonic() - self._refresh_seconds + MISSING_KEY_SECONDS
        return self._known(key_id)

    def _known(self, key_id: str | None) -> Any:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _stale(self, key_id: str | None) -> bool:
        if self._path is not None:
            stat = os.stat(self._path)
            return (stat.st_mtime_ns, stat.st_ino) != self._stamp
        age = time.monotonic() - self._fetched_at
        missing = key_id is not None and key_id not in self._keys
        return self._fetched_at < 0 or age > self._refresh_seconds or (missing and age > MISSING_KEY_SECONDS)

    async def _fetch(self) -> None:
        from jwt import PyJWKSet

        if self._path is not None:
            stat = os.stat(self._path)
            self._stamp = (stat.st_mtime_ns, stat.st_ino)
            with open(self._path, "rb") as file:  # noqa: ASYNC230 - a small local file
                text = file.read(MAX_KEYS_BYTES)
        else:
            text = await trio.to_thread.run_sync(self._download)
            self._fetched_at = time.monotonic()
        keys = PyJWKSet.from_dict(json.loads(text)).keys
        self._keys = {key.key_id: key for key in keys if key.public_key_use in (None, "sig")}

    def _download(self) -> bytes:
        from urllib.error import HTTPError
        from urllib.request import urlopen

        try:
            with urlopen(self._url, timeout=FETCH_SECONDS) as answer:
                data: bytes = answer.read(MAX_KEYS_BYTES)
                return data
        except HTTPError as error:
            error.close()  # It is the answer as well, with its socket.
            raise


class SignedTokens:
    """Checks signature, times, issuer and audience, and says who the token is for."""

    def __init__(self, config: ListenerConfig, keys: KeySet) -> None:
        self._keys = keys
        self._subject = _Subject(config)
        self._issuer = config.value("sasl.oauthbearer.expected.issuer", OAUTHBEARER)
        self._audience = list(config.value("sasl.oauthbearer.expected.audience", OAUTHBEARER)) or None
        self._leeway = config.value("sasl.oauthbearer.clock.skew.seconds", OAUTHBEARER)

    async def __call__(self, token: str) -> Proved:
        """Who it is for; raises TokenRefused."""
        import jwt

        try:
            key = await self._keys.key(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise TokenRefused("its key isn't known")
            claims = jwt.decode(
                token,
                key=key.key,
                algorithms=[key.algorithm_name] if key.algorithm_name in ALGORITHMS else [],
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
                options={"require": ["exp"], "verify_aud": self._audience is not None, "verify_sub": False},
            )
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from None
        except (OSError, ValueError) as error:
            log.error("the keys for OAuth tokens can't be had: %s", error)
            raise TokenRefused("the keys can't be had") from None
        return self._subject.of(claims)


class UnsecuredTokens:
    """Takes what a token says, as long as it isn't out of date."""

    def __init__(self, config: ListenerConfig, now: Callable[[], float] = time.time) -> None:
        self._subject = _Subject(config)
        self._leeway = config.value("sasl.oauthbearer.clock.skew.seconds", OAUTHBEARER)
        self._now = now

    async def __call__(self, token: str) -> Proved:
        """Who it is for; raises TokenRefused."""
        try:
            header, body, signature = token.split(".")
            if _part(header).get("alg") != "none" or signature:
                raise _refused("a signed token, where those without a signature are taken")
            claims = _part(body)
            if not float(claims["exp"]) + self._leeway > self._now():
                raise _refused("expired")
        except (ValueError, KeyError, TypeError):
            raise _refused("no unsecured JWT") from None
        return self._subject.of(claims)


def _part(text: str) -> dict[str, Any]:
    found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


class _Subject:
    """Who a token's claims are about."""

    def __init__(self, config: ListenerConfig) -> None:
        self._claim = config.value("sasl.oauthbearer.sub.claim.name", OAUTHBEARER)

    def of(self, claims: dict[str, Any]) -> Proved:
        """The principal and the token's end."""
        name = claims.get(self._claim)
        if not isinstance(name, str) or not name.strip():
            raise _refused(f"the claim {self._claim} names nobody")
        return Proved(KafkaPrincipal(USER, name), int(float(claims["exp"]) * 1000))


def _refused(reason: str) -> TokenRefused:
    log.info("an OAuth token was refused: %s", reason)
    return TokenRefused(reason)
