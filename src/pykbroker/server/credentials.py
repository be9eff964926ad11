"""What proves a client: users' passwords given at start, SCRAM credentials and delegation tokens in the metadata store.

It keeps them in memory and reads them again when the store says that they changed. It knows no connection.
"""

from __future__ import annotations

import base64
import logging
import math
import os
from collections.abc import Callable, Mapping
from uuid import UUID

import trio

from pykbroker.cluster.image import uuid_from, uuid_text
from pykbroker.metadata import token_znodes, znodes
from pykbroker.metadata.store import Create, MetadataStore, NoNode, Operation, Set, StoreError, forget_oldest
from pykbroker.security.delegation_token import DelegationToken, password, secret
from pykbroker.security.scram import HASHES, Found, ScramCredential, make_credential, parse_credential
from pykbroker.server.clock import Clock
from pykbroker.server.entity_configs import EntityConfigs

log = logging.getLogger(__name__)

KEPT_NOTES = 100
SALT_BYTES = 16
DERIVED = 1000
"""How many credentials made of passwords and tokens are remembered."""


class Credentials:
    """All that clients are proved by."""

    def __init__(
        self,
        store: MetadataStore,
        entities: EntityConfigs,
        clock: Clock,
        *,
        users: Mapping[str, str] | None = None,
        token_key: str | None = None,
        check_seconds: float = 3600.0,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store = store
        self._entities = entities
        self._clock = clock
        self._users = dict(users or {})
        self._token_key = token_key
        self._check_seconds = check_seconds
        self._random_bytes = random_bytes
        self._scram: dict[tuple[str, str], ScramCredential] = {}
        self._derived: dict[tuple[str, str, bool], ScramCredential] = {}
        self._changed = trio.Event()
        self._loading = trio.Lock()
        """Of two who read at once the later has to have the last word."""
        self.tokens: dict[str, DelegationToken] = {}
        self._by_secret: dict[bytes, str] = {}
        entities.on_change("users", self._set_user)

    # ---- asking

    @property
    def tokens_enabled(self) -> bool:
        """Whether `delegation.token.secret.key` is set."""
        return bool(self._token_key)

    def password_of(self, user: str) -> str | None:
        """A user's password, of those given at start."""
        return self._users.get(user)

    def lookup(self, mechanism: str, name: str, is_token: bool) -> Found | None:
        """What SCRAM needs of a user, or of a token by its id; None for those that aren't, or no longer."""
        if is_token:
            token = self.tokens.get(name)
            if token is None or not self._token_key or token.expired(self._clock.now_ms()):
                return None
            credential = self._derive(mechanism, name, is_token, password(name, self._token_key))
            return Found(credential, token.owner.name, token.expires_ms)
        stored = self._scram.get((name, mechanism))
        if stored is None and name in self._users:
            stored = self._derive(mechanism, name, is_token, self._users[name])
        return None if stored is None else Found(stored, name)

    def _derive(self, mechanism: str, name: str, is_token: bool, text: str) -> ScramCredential:
        """Made once: it costs milliseconds."""
        key = (mechanism, name, is_token)
        credential = self._derived.get(key)
        if credential is None:
            if len(self._derived) >= DERIVED:
                self._derived.clear()
            credential = self._derived[key] = make_credential(mechanism, text, self._random_bytes(SALT_BYTES))
        return credential

    def scram_users(self) -> dict[str, dict[str, int]]:
        """The users with credentials in the store: mechanism → iterations, by user."""
        users: dict[str, dict[str, int]] = {}
        for (user, mechanism), credential in sorted(self._scram.items()):
            users.setdefault(user, {})[mechanism] = credential.iterations
        return users

    def token_by_secret(self, hmac: bytes) -> DelegationToken | None:
        """The token of a secret."""
        return self.tokens.get(self._by_secret.get(hmac, ""))

    def secret_of(self, token: DelegationToken) -> bytes:
        """A token's secret."""
        return secret(token.id, self._token_key or "")

    def new_token_id(self) -> str:
        """An id that no token had before."""
        drawn: UUID = uuid_from(self._random_bytes(16))
        return uuid_text(drawn)

    # ---- the store

    async def load(self) -> None:
        """Reads every token. Raises StoreError."""
        async with self._loading:
            nodes = await self._store.subtree(token_znodes.TOKENS)
            tokens = [token_znodes.decode_token(node.data) for node in nodes.values()]
            self.tokens = {token.id: token for token in tokens}
            self._by_secret = {self.secret_of(token): token.id for token in tokens}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reads the tokens, and again whenever some broker changed one; ends those that have expired."""
        if not self.tokens_enabled:
            task_status.started()
            return
        for path in (token_znodes.TOKENS, token_znodes.TOKEN_CHANGES):
            await self._store.ensure_path(path)
        self._store.watch(token_znodes.TOKEN_CHANGES, lambda: self._changed.set())
        await self.load()
        task_status.started()
        while True:
            with trio.move_on_after(self._check_seconds if self.tokens else math.inf) as waited:
                await self._changed.wait()
            try:
                if waited.cancelled_caught:
                    await self.end_expired_tokens()
                self._changed = trio.Event()
                await self.load()
            except StoreError as error:
                log.error("the delegation tokens can't be read, those known stay in force: %s", error)

    def _set_user(self, entity: str, config: Mapping[str, str]) -> None:
        """Takes a user's credentials over from its config; what stands below a user is its client ids'."""
        _, _, escaped = entity.partition("/")
        user = None if "/" in escaped else znodes.entity_name(escaped)
        if user is None:
            return
        for mechanism in HASHES:
            self._scram.pop((user, mechanism), None)
            if mechanism in config:
                try:
                    self._scram[user, mechanism] = parse_credential(config[mechanism])
                except ValueError:
                    log.error("the %s credential of user %s can't be read", mechanism, user)

    async def alter_scram(self, user: str, changes: Mapping[str, ScramCredential | None]) -> None:
        """Sets a user's credentials by mechanism, or removes them; its quotas stay. Raises StoreError."""
        gone = {mechanism for mechanism, credential in changes.items() if credential is None}
        new = {mechanism: one.to_text() for mechanism, one in changes.items() if one is not None}

        def plan(config: Mapping[str, str]) -> Mapping[str, str]:
            return {**{key: value for key, value in config.items() if key not in gone}, **new}

        await self._entities.change(znodes.entity("users", user), plan)

    async def put_token(self, token: DelegationToken) -> None:
        """Stores a token, new or changed. Raises StoreError."""
        path, data = token_znodes.token_path(token.id), token_znodes.encode_token(token)
        known = await self._store.find(path) is not None
        await self._write_token(token.id, Set(path, data) if known else Create(path, data))

    async def end_token(self, token: DelegationToken) -> None:
        """Removes a token. Raises StoreError."""
        try:
            await self._store.delete(token_znodes.token_path(token.id))
        except NoNode:
            pass
        await self._write_token(token.id)

    async def end_expired_tokens(self) -> None:
        """Removes the tokens that are no longer good. Raises StoreError."""
        now = self._clock.now_ms()
        for token in [one for one in self.tokens.values() if one.expired(now)]:
            log.info("delegation token %s of %s has expired", token.id, token.owner)
            await self.end_token(token)

    async def _write_token(self, token_id: str, *operations: Operation) -> None:
        note_path, note = token_znodes.token_change(token_id)
        await self._store.multi([*operations, Create(note_path, note, sequential=True)])
        await forget_oldest(self._store, token_znodes.TOKEN_CHANGES, KEPT_NOTES)
        await self.load()


def nonce(random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """A server's nonce for SCRAM."""
    return base64.b64encode(random_bytes(24)).decode().replace(",", "")
