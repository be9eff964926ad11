"""What a wire conversation is: steps with one broker at one version of an API, each answer noted under a label."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from wire_connection import NO_ANSWER, Wire, shown

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.describe_transactions import DescribeTransactionsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest

USERS = {"admin": "admin-secret", "alice": "alice-secret", "nobody": "nobody-secret"}
"""Of a broker that guards what it has: the admin may everything, the others what the admin allows them."""


def guarded_config(listener: str = "sasl_plaintext") -> dict[str, str]:
    """The configuration of a broker that guards what it has, but for its listener and the name of its authorizer."""
    users = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
    login = f'username="admin" password="{USERS["admin"]}"'
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    return {
        "super.users": "User:admin;User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        f"listener.name.{listener}.plain.sasl.jaas.config": f"{module} required {login} {users};",
        "inter.broker.listener.name": listener.upper(),
        "delegation.token.secret.key": "a secret",
    }


PRODUCE_SERVED = 3
"""The first version of Produce that Apache Kafka 4 takes; for clients' sake it lists older ones (KIP-896)."""


class NotServed(Exception):
    """An API that the broker doesn't have, or not in this version."""


class Talk:
    """A conversation under way; `said` is what came of it.

    Where `served` says what the broker has, an API is asked for in this conversation's own version or not at all
    (NotServed); what is named in another version, to help the conversation on, is asked for in the newest up to that.
    """

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        version: int,
        *,
        user: str | None = None,
        served: Mapping[int, range] | None = None,
    ) -> None:
        self.bootstrap = bootstrap
        self.version = version
        self.name = prefix
        self.said: dict[str, str] = {}
        self._served = served
        self._user = user
        self.wire = self._connect()
        self.topic_id = UUID(int=0)
        """Of the topic that requests by id are about, where a conversation says so."""
        self._names: list[tuple[str, str]] = [(prefix, "T")]

    def _connect(self) -> Wire:
        wire = Wire(self.bootstrap)
        if self._user is not None:
            wire.log_in(self._user, USERS[self._user])
        return wire

    def reconnect(self) -> None:
        """Go on by another connection."""
        self.wire.close()
        self.wire = self._connect()

    def become(self, user: str) -> None:
        """Go on as another user, at a broker that asks who comes."""
        self._user = user
        self.reconnect()

    def served_versions(self, key: int) -> range:
        """The versions of an API that the broker at hand has."""
        assert self._served is not None
        return self._served.get(key, range(0))

    def await_code(self, request: Message, version: int, code: int, of: Callable[[Any], int] | None = None) -> None:
        """Ask until this is the answer's code; NotServed where the broker says that it doesn't serve that."""
        for _ in range(500):
            answer = self.ask(request, version)
            found = answer.error_code if of is None else of(answer)
            if found == code:
                return
            if found == ErrorCode.UNSUPPORTED_VERSION:
                break
            time.sleep(0.02)
        raise NotServed(f"{type(request).__name__} {version}: {answer}")

    def await_groups(self) -> None:
        """Return once groups are served: whoever asks first has the offsets' topic made."""
        self.await_code(FindCoordinatorRequest(key=self.name), 2, ErrorCode.NONE)

    def await_transactions(self, name: str | None = None) -> None:
        """Return once transactions of this new name are served, and there are producer ids: Apache Kafka's first block
        of them takes its time."""
        key = self.name if name is None else name
        self.await_code(FindCoordinatorRequest(key_type=1, key=key), 2, ErrorCode.NONE)
        self.await_code(InitProducerIdRequest(transactional_id=None), 4, ErrorCode.NONE)
        described = DescribeTransactionsRequest(transactional_ids=[key])
        self.await_code(
            described, 0, ErrorCode.TRANSACTIONAL_ID_NOT_FOUND, lambda answer: answer.transaction_states[0].error_code
        )

    def mask(self, name: str, replacement: str) -> None:
        """Show `replacement` where this text stands in answers."""
        self._names.insert(0, (name, replacement))

    def ask(self, request: Message, version: int | None = None) -> Any:
        """Ask without noting; the answer, None when the broker closed the connection."""
        return self.wire.ask(request, self._version(type(request).key, version))

    def _version(self, key: int, wanted: int | None) -> int:
        version = self.version if wanted is None else wanted
        if self._served is None:
            return version
        served = self._served.get(key, range(0))
        if not served or (wanted is None and version not in served):
            raise NotServed(f"API {key} version {version}")
        return min(version, served[-1])

    def note(self, label: str, answer: Any) -> Any:
        self.said[label] = NO_ANSWER if answer is None else shown(answer, self._names)
        return answer

    def say(self, label: str, request: Message, version: int | None = None) -> Any:
        """Ask, and note the answer; after a closed connection the next request goes by a new one."""
        answer = self.note(label, self.ask(request, version))
        if answer is None:
            self.reconnect()
        return answer

    def topic(self, partitions: int = 1, suffix: str = "", **config: str) -> UUID:
        """Make the topic of this conversation (its name and `suffix`); its id, once each partition is served."""
        name = self.name + suffix
        configs = [
            CreateTopicsRequest.Topic.Config(name=key.replace("_", "."), value=value) for key, value in config.items()
        ]
        topic = CreateTopicsRequest.Topic(
            name=name, num_partitions=partitions, replication_factor=1, assignments=[], configs=configs
        )
        (made,) = self.ask(CreateTopicsRequest(topics=[topic], timeout_ms=15000), 4).topics
        assert made.error_code == 0, made
        request = MetadataRequest(topics=[MetadataRequest.Topic(name=name)], allow_auto_topic_creation=False)
        ends = [ListOffsetsRequest.Topic.Partition(partition_index=index, timestamp=-1) for index in range(partitions)]
        latest = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsRequest.Topic(name=name, partitions=ends)])
        for _ in range(500):
            (described,) = self.ask(request, 10).topics
            (listed,) = self.ask(latest, 4).topics
            if len(described.partitions) == partitions and not any(part.error_code for part in listed.partitions):
                return UUID(bytes=described.topic_id.bytes)
            time.sleep(0.01)
        raise AssertionError(f"{name} isn't served")

    def close(self) -> None:
        self.wire.close()


class Conversation(NamedTuple):
    """A function that talks, and the versions it is held at."""

    talk: Callable[[Talk], None]
    versions: range
    """With Apache Kafka 4."""
    older: range
    """With Apache Kafka 3.9, which has versions of before; those of these that it serves."""
    guarded: bool
    """Whether it is held with a broker that has ACLs, as its admin to begin with."""


CONVERSATIONS: dict[str, Conversation] = {}


def conversation(
    first: int, last: int, *, older: int | None = None, guarded: bool = False
) -> Callable[[Callable[[Talk], None]], Callable[[Talk], None]]:
    """Register a conversation for versions `first` to `last`, and with an older Apache Kafka from `older`."""
    begin = first if older is None else older
    return _register(range(first, last + 1), range(begin, last + 1), guarded)


def older(first: int, last: int) -> Callable[[Callable[[Talk], None]], Callable[[Talk], None]]:
    """Register a conversation about what an older Apache Kafka alone has."""
    return _register(range(0), range(first, last + 1), guarded=False)


def _register(
    versions: range, before: range, guarded: bool
) -> Callable[[Callable[[Talk], None]], Callable[[Talk], None]]:
    def register(function: Callable[[Talk], None]) -> Callable[[Talk], None]:
        CONVERSATIONS[function.__name__] = Conversation(function, versions, before, guarded)
        return function

    return register


def hold(bootstrap: str, name: str, version: int, served: Mapping[int, range] | None = None) -> dict[str, str] | None:
    """Hold one conversation; what was said, by label, or None where the broker doesn't serve what it is about."""
    prefix = f"{name.replace('_', '-')}-{version}-{time.time_ns() // 1_000_000:x}"
    held = CONVERSATIONS[name]
    talk = Talk(bootstrap, prefix, version, user="admin" if held.guarded else None, served=served)
    try:
        talk.await_groups()
        held.talk(talk)
    except NotServed:
        return None
    finally:
        talk.close()
    return talk.said


def versions_served(bootstrap: str, user: str | None = None) -> dict[int, range]:
    """What a broker lists in its ApiVersions."""
    with Wire(bootstrap) as wire:
        if user is not None:
            wire.log_in(user, USERS[user])
        listed = wire.ask(ApiVersionsRequest(client_software_name="wire", client_software_version="1.0"), 3).api_keys
    found = {one.api_key: range(one.min_version, one.max_version + 1) for one in listed}
    if found[ApiKey.FETCH].start:
        found[ApiKey.PRODUCE] = range(PRODUCE_SERVED, found[ApiKey.PRODUCE].stop)
    return found
