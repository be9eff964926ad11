"""What a handler is given besides the message, and the decorator that names a handler's versions.

`@handles` lives here so that a family of handlers need not import `apis/__init__`, which imports them all.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pykbroker.protocol.versions import Versions
from pykbroker.security.principal import ANONYMOUS, KafkaPrincipal

if TYPE_CHECKING:
    from pykbroker.protocol.message import Message
    from pykbroker.security.acl import Operation, ResourceType
    from pykbroker.server.services import Services

M = TypeVar("M", bound="Message")
R = TypeVar("R")


class CloseConnection(Exception):
    """The request can't be answered in Kafka's way but by ending its connection, for the reason given as text."""


@dataclass(slots=True)
class RequestContext:
    """One request's surroundings: who asked, over which connection, in which version."""

    services: Services
    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    client_host: str
    """The client's address in the form that Kafka stores and describes: `/127.0.0.1`."""
    listener: str
    local_address: tuple[str, int]
    """Where this connection reached the broker: what Metadata answers, unless advertised.listeners says otherwise."""
    connection_id: int = 0
    principal: KafkaPrincipal = ANONYMOUS
    client_port: int = 0

    def authorize(self, operation: Operation, kind: ResourceType, name: str) -> bool:
        """Whether the client may do something to a resource: for handlers that alone know what a request comes to.

        The rest is done before the handler is called, by `security.rules`.
        """
        authorizer = self.services.authorizer
        return authorizer is None or authorizer.authorize(self.principal, self.client_host[1:], operation, kind, name)


class Handler(NamedTuple):
    """A handler as the table in `apis` knows it."""

    request: type[Any]
    versions: Versions
    call: Callable[[Any, RequestContext], Awaitable[Any]]

    @property
    def response(self) -> type[Any]:
        """The class of the answers: declared beside the request's."""
        name = self.request.__name__.removesuffix("Request") + "Response"
        response: type[Any] = getattr(sys.modules[self.request.__module__], name)
        return response


def handles(request: type[M], versions: str) -> Callable[[Callable[[M, RequestContext], Awaitable[R]]], Handler]:
    """Turns an async function into the handler of one request, for the versions given in Kafka's notation (`0-4`)."""

    def wrap(call: Callable[[M, RequestContext], Awaitable[R]]) -> Handler:
        return Handler(request, Versions(versions), call)

    return wrap
