"""What stands between a request and its handler once there is an authorizer: the forms that the rules are made of.

A check takes out of a request what its client may not ask, and says how the answer is completed; or it answers in the
handler's place. So a handler never sees what isn't allowed. Which API has which checks: `rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.message import ZERO_UUID, Message
from pykbroker.security.acl import CLUSTER_NAME, SUPPORTED, Operation, ResourceType

NOT_ASKED = -(1 << 31)

CODES = {
    ResourceType.TOPIC: ErrorCode.TOPIC_AUTHORIZATION_FAILED,
    ResourceType.GROUP: ErrorCode.GROUP_AUTHORIZATION_FAILED,
    ResourceType.CLUSTER: ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
    ResourceType.TRANSACTIONAL_ID: ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ResourceType.DELEGATION_TOKEN: ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
}
"""The error that stands for a refusal."""
MESSAGES = {
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: "Topic authorization failed.",
    ErrorCode.GROUP_AUTHORIZATION_FAILED: "Group authorization failed.",
    ErrorCode.CLUSTER_AUTHORIZATION_FAILED: "Cluster authorization failed.",
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "Transactional Id authorization failed.",
    ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED: "Delegation Token authorization failed.",
}
"""Kafka's sentence for each of them."""

_INDEXES = ("partition_index", "partition", "index", "partition_id")
_NAMES = ("name", "topic", "topic_name", "group_id", "transactional_id", "key")


class Access(Protocol):
    """What the client of one request may do, and what there is."""

    version: int
    creates_topics: bool
    """Whether a missing topic is made when Metadata asks for it."""

    def may(self, operation: Operation, kind: ResourceType, name: str) -> bool:
        """Whether the operation on a resource is allowed."""
        ...

    def may_any(self, operation: Operation, kind: ResourceType) -> bool:
        """Whether there may be a resource of a type on which the operation is allowed."""
        ...

    def topic_name(self, topic_id: UUID) -> str | None:
        """The name of a topic by its id."""
        ...

    def topic_names(self) -> Sequence[str]:
        """The names of all topics."""
        ...

    def is_internal(self, topic: str) -> bool:
        """Whether a topic is one of Kafka's own."""
        ...


Finish = Callable[[Any], None]
"""Completes the answer that the handler gave."""
Outcome = Message | Finish | None
"""The whole answer, in the handler's place; or how the handler's is completed; or nothing to add."""
Check = Callable[[Any, Access, Any], Outcome]
"""Given the request, what is allowed, and the class of the answer."""


class Need(NamedTuple):
    """An operation on a type of resource, as Kafka's table of protocol and rights lists it."""

    operation: Operation
    kind: ResourceType


@dataclass(frozen=True, slots=True)
class Rule:
    """What an API needs, in words, and the checks that see to it, in order."""

    needs: tuple[Need, ...]
    checks: tuple[Check, ...]
    in_handler: bool = False
    """Whether the handler asks for itself, as it alone knows what a request comes to."""

    def check(self, request: Any, access: Access, answer: Any) -> Outcome:
        """Runs the checks; the first that answers ends it."""
        finishes: list[Finish] = []
        for check in self.checks:
            outcome = check(request, access, answer)
            if isinstance(outcome, Message):
                for finish in finishes:
                    finish(outcome)
                return outcome
            if outcome is not None:
                finishes.append(outcome)
        if not finishes:
            return None

        def complete(response: Any) -> None:
            for finish in finishes:
                finish(response)

        return complete


def refused(answer: Any, version: int, code: ErrorCode) -> Any:
    """An answer, or an item of one, that says no; the sentence goes with it where there is room for it."""
    fields = answer.fields
    values: dict[str, Any] = {}
    if "error_code" in fields and version in fields["error_code"].versions:
        values["error_code"] = code
    if "error_message" in fields and version in fields["error_message"].versions:
        values["error_message"] = MESSAGES[code]
    return answer(**values)


def whole(answer: Any, **values: Any) -> Message:
    """An answer in the handler's place."""
    told: Message = answer(**values)
    return told


def element(owner: Any, items: str) -> Any:
    """The class of a list field's items."""
    return owner.fields[items].element


@dataclass(frozen=True, slots=True)
class Whole:
    """The request as a whole needs one right: on the cluster, or on what a field of it names."""

    operation: Operation
    kind: ResourceType
    named_by: str | None = None
    spread: Callable[[Any, Access, Any, ErrorCode], Any] | None = None
    """How an answer without an error of its own says no."""

    def __call__(self, request: Any, access: Access, answer: Any) -> Outcome:
        """Answers where it isn't allowed; an absent name needs nothing."""
        name = CLUSTER_NAME if self.named_by is None else getattr(request, self.named_by)
        if name is None or access.may(self.operation, self.kind, name):
            return None
        return self.refuse(request, access, answer)

    def refuse(self, request: Any, access: Access, answer: Any) -> Message:
        """The answer that says no."""
        code = CODES[self.kind]
        told: Message
        if self.spread is None:
            told = refused(answer, access.version, code)
        else:
            told = self.spread(request, access, answer, code)
        return told


@dataclass(frozen=True, slots=True)
class Each:
    """Each item of the request needs the right for itself: what isn't allowed is taken out and answered here."""

    operation: Operation
    kind: ResourceType
    items: str
    answers: str
    partitions: str = ""
    """The list of partitions of an answer's item, where the error stands with each of them."""
    asked_partitions: str = "partitions"
    blank: dict[str, Any] = field(default_factory=dict)
    """What a refused partition or item has besides its error."""
    message: str | None = None
    keep_id: bool = True

    def __call__(self, request: Any, access: Access, answer: Any) -> Outcome:
        """Takes out what isn't allowed. Where nothing is left there is nothing to ask the handler."""
        items = getattr(request, self.items)
        if not items:
            return None
        allowed: list[Any] = []
        denied: list[Any] = []
        decided: dict[str, bool] = {}
        for item in items:
            name = self.name_of(item, access)
            if name is not None and name not in decided:
                decided[name] = access.may(self.operation, self.kind, name)
            (allowed if name is None or decided[name] else denied).append(item)
        if not denied:
            return None
        setattr(request, self.items, allowed)
        cls, code = element(answer, self.answers), CODES[self.kind]
        answers = [self.refuse(item, access, cls, code) for item in denied]
        if not allowed:
            return whole(answer, **{self.answers: answers})
        return lambda response: getattr(response, self.answers).extend(answers)

    def spread(self, request: Any, access: Access, answer: Any, code: ErrorCode) -> Any:
        """An answer that refuses every item, with its own error, too, where it has one."""
        cls = element(answer, self.answers)
        told = refused(answer, access.version, code)
        setattr(told, self.answers, [self.refuse(item, access, cls, code) for item in getattr(request, self.items)])
        return told

    def name_of(self, item: Any, access: Access) -> str | None:
        """The name of an item's resource; None for an id that there is nothing behind: the handler says so."""
        if isinstance(item, str):
            return item
        topic_id = getattr(item, "topic_id", ZERO_UUID)
        if topic_id != ZERO_UUID:
            return access.topic_name(topic_id)
        name: str | None = next((getattr(item, key) for key in _NAMES if key in item.fields), None)
        return name or None

    def refuse(self, item: Any, access: Access, cls: Any, code: ErrorCode) -> Any:
        """The answer to one item."""
        values = _identity(item, cls, self.keep_id)
        if not self.partitions:
            if self.message is not None and "error_message" in cls.fields:
                values["error_message"] = self.message
            return cls(error_code=code, **values, **self.blank)
        part = element(cls, self.partitions)
        index = next(key for key in _INDEXES if key in part.fields)
        wrong = "error_code" if "error_code" in part.fields else "partition_error_code"
        blank = {**self.blank, index: 0, wrong: code}
        if self.message is not None:
            blank["error_message"] = self.message
        values[self.partitions] = [part(**{**blank, index: at}) for at in indexes(getattr(item, self.asked_partitions))]
        return cls(**values)


def indexes(partitions: Iterable[Any]) -> list[int]:
    """The partitions' numbers, of a list of numbers or of structs."""
    return [
        one if isinstance(one, int) else next(getattr(one, key) for key in _INDEXES if key in one.fields)
        for one in partitions
    ]


def _identity(item: Any, cls: Any, keep_id: bool) -> dict[str, Any]:
    """What tells the client which of its items is meant: the name, and the id that it gave itself."""
    target = next((key for key in (*_NAMES, "user") if key in cls.fields), None)
    if isinstance(item, str):
        return {} if target is None else {target: item}
    values: dict[str, Any] = {}
    source = next((key for key in _NAMES if key in item.fields), None)
    if source is not None and target is not None:
        values[target] = getattr(item, source)
    if keep_id and "topic_id" in cls.fields and "topic_id" in item.fields:
        values["topic_id"] = item.topic_id
    return values


@dataclass(frozen=True, slots=True)
class Shown:
    """Of the answer's items those alone are shown on which the client has the right (KIP-430's lists, too)."""

    operation: Operation
    kind: ResourceType
    answers: str
    unless_cluster: Operation | None = None
    """The right on the cluster with which everything is shown."""

    def __call__(self, request: Any, access: Access, answer: Any) -> Outcome:
        """Leaves the request alone."""
        if self.unless_cluster is not None and access.may(self.unless_cluster, ResourceType.CLUSTER, CLUSTER_NAME):
            return None
        return lambda response: setattr(
            response, self.answers, [one for one in getattr(response, self.answers) if self._may(one, access)]
        )

    def _may(self, item: Any, access: Access) -> bool:
        name = next(getattr(item, key) for key in _NAMES if key in item.fields)
        return access.may(self.operation, self.kind, name)


@dataclass(frozen=True, slots=True)
class Operations:
    """`authorized_operations` where the client asked for them: what it may really do (KIP-430)."""

    kind: ResourceType
    attribute: str
    answers: str = ""
    """The list whose items have them; empty where the answer itself has."""

    def __call__(self, request: Any, access: Access, answer: Any) -> Outcome:
        """Leaves the request alone. An answer that nobody asked to have them may be one that was encoded before."""
        if not getattr(request, f"include_{self.attribute}", True):
            return None
        return lambda response: self._fill(response, access)

    def _fill(self, response: Any, access: Access) -> None:
        for item in getattr(response, self.answers) if self.answers else [response]:
            if getattr(item, self.attribute) == NOT_ASKED:
                continue
            name = CLUSTER_NAME
            if self.answers:
                name = next(getattr(item, key) for key in _NAMES if key in item.fields) or ""
            setattr(item, self.attribute, operations(self.kind, name, access))


def operations(kind: ResourceType, name: str, access: Access) -> int:
    """The bits of what the client may do; of the cluster it learns nothing unless it may describe it."""
    if kind is ResourceType.CLUSTER and not access.may(Operation.DESCRIBE, kind, name):
        return 0
    return sum(1 << one for one in SUPPORTED[kind] if access.may(one, kind, name))
