"""Who is at the other end of a connection: a type and a name, `User:alice`."""

from __future__ import annotations

from typing import NamedTuple

USER = "User"


class KafkaPrincipal(NamedTuple):
    """A principal as ACLs and quotas name it; the text form is `User:alice`."""

    kind: str
    name: str
    token_authenticated: bool = False
    """Whether a delegation token proved it: such a client may not make further tokens."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


ANONYMOUS = KafkaPrincipal(USER, "ANONYMOUS")
"""Who a client is that no listener asked."""


def parse_principal(text: str) -> KafkaPrincipal:
    """`User:alice` as a principal; raises ValueError for a text without a type or a name."""
    kind, colon, name = text.partition(":")
    if not (colon and kind and name):
        raise ValueError(f"expected a string in format principalType:principalName but got {text}")
    return KafkaPrincipal(kind, name)


def parse_super_users(text: str) -> frozenset[str]:
    """`super.users`: principals with semicolons between them, as texts; raises ValueError."""
    return frozenset(str(parse_principal(part.strip())) for part in text.split(";") if part.strip())
