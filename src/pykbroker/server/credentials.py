"""What proves a client: users' passwords given at start, SCRAM credentials and delegation tokens in the metadata store.

It keeps them in memory and reads them again when the store says that they changed. It knows no connection.
"""

from __future__ import annotations

import base64
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import trio

from pykbroker.cluster.image import uuid_from, uuid_text
from pykbroker.metadata import credential_znodes, znodes
from pykbroker.metadata.store import BadVersion, Create, MetadataStore, NodeExists, NoNode, Operation, Set, StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.security.delegation_token import DelegationToken, password, secret
from pykbroker.security.scram import HASHES, Found, ScramCredential, make_credential, parse_credential
from pykbroker.server.clock import Clock

log = logging.getLogger(__name__)

ATTEMPTS = 10
KEPT_NOTES = 100
SALT_BYTES = 16
DERIVED = 1000
"""How many credentials made of passwords and tokens are remembered."""


class Credentials:
    """All that clients are proved by."""

    def __init__(
        self,
        store: MetadataStore,
        clock: Clock,
        *,
        users: Mapping[str, str] | None = None,
        token_key: str | None = None,
        check_seconds: float = 3600.0,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store = store
        self._clock = clock
        self._users = dict(users or {})
        self._token_key = token_key
        self._check_seconds = check_seconds
        self._random_bytes = random_bytes
        self._scram: dict[tuple[str, str], ScramCredential] = {}
        self._derived: dict[tuple[str, str, bool], ScramCredential] = {}
        self._changed = trio.Event()
        self.tokens: dict[str, DelegationToken] = {}
        self._by_secret: dict[bytes, str] = {}

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
        """Reads every credential and token. Raises StoreError."""
        scram: dict[tuple[str, str], ScramCredential] = {}
        for path, node in (await self._store.subtree(credential_znodes.USERS)).items():
            user = credential_znodes.user_at(path)
            if user is None:
                continue
            config = znodes.decode_config(node.data)
            for mechanism in HASHES.keys() & config.keys():
                try:
                    scram[user, mechanism] = parse_credential(config[mechanism])
                except ValueError:
                    log.error("the %s credential of user %s can't be read", mechanism, user)
        tokens: dict[str, DelegationToken] = {}
        for node in (await self._store.subtree(credential_znodes.TOKENS)).values() if self.tokens_enabled else ():
            token = credential_znodes.decode_token(node.data)
            tokens[token.id] = token
        self._scram, self.tokens = scram, tokens
        self._by_secret = {self.secret_of(token): token.id for token in tokens.values()}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reads, and reads again whenever some broker changed something; ends tokens that have expired."""
        watched = [credential_znodes.USERS, credential_znodes.CONFIG_CHANGES]
        if self.tokens_enabled:
            await self._store.ensure_path(credential_znodes.TOKENS)
            await self._store.ensure_path(credential_znodes.TOKEN_CHANGES)
            watched.append(credential_znodes.TOKEN_CHANGES)
        for path in watched:
            self._store.watch(path, lambda: self._changed.set())
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
                log.error("credentials can't be read, those known stay in force: %s", error)

    async def alter_scram(self, user: str, changes: Mapping[str, ScramCredential | None]) -> None:
        """Sets a user's credentials by mechanism, or removes them; quotas in the same node stay. Raises KafkaError."""
        path = credential_znodes.user_path(user)
        for _ in range(ATTEMPTS):
            node = await self._store.find(path)
            config = znodes.decode_config(node.data) if node is not None else {}
            for mechanism, credential in changes.items():
                if credential is None:
                    config.pop(mechanism, None)
                else:
                    config[mechanism] = credential.to_text()
            data = znodes.encode_config(config)
            operation: Operation = Create(path, data) if node is None else Set(path, data, node.stat.version)
            note_path, note = credential_znodes.user_change(user)
            try:
                await self._store.multi([operation, Create(note_path, note, sequential=True)])
            except (BadVersion, NodeExists, NoNode):
                continue
            await self._forget_notes(credential_znodes.CONFIG_CHANGES)
            await self.load()
            return
        raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR, "The user was changed by others again and again.")

    async def put_token(self, token: DelegationToken) -> None:
        """Stores a token, new or changed. Raises StoreError."""
        path, data = credential_znodes.token_path(token.id), credential_znodes.encode_token(token)
        known = await self._store.find(path) is not None
        await self._write_token(token.id, Set(path, data) if known else Create(path, data))

    async def end_token(self, token: DelegationToken) -> None:
        """Removes a token. Raises StoreError."""
        try:
            await self._store.delete(credential_znodes.token_path(token.id))
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
        note_path, note = credential_znodes.token_change(token_id)
        await self._store.multi([*operations, Create(note_path, note, sequential=True)])
        await self._forget_notes(credential_znodes.TOKEN_CHANGES)
        await self.load()

    async def _forget_notes(self, folder: str) -> None:
        names: Sequence[str] = (await self._store.children(folder))[:-KEPT_NOTES]
        for name in names:
            try:
                await self._store.delete(f"{folder}/{name}")
            except NoNode:
                pass


def nonce(random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """A server's nonce for SCRAM."""
    return base64.b64encode(random_bytes(24)).decode().replace(",", "")
