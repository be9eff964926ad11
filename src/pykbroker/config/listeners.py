"""Reads `listeners`, `advertised.listeners` and `listener.security.protocol.map`, and says what is wrong with them.

A listener that `controller.listener.names` names is left out: it is a KRaft controller's, which this broker is not.
It never opens a socket and never looks a host up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pykbroker.config.keys import ConfigError, split

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

_FORM = re.compile(r"([^:/]+)://(?:\[([0-9a-fA-F:.%\w]*)\]|([\w.%-]*)):(\d{1,5})")
_EXPECTED = "expected NAME://HOST:PORT, with an IPv6 address in brackets, and commas between several"
_WILDCARDS = ("0.0.0.0", "::")


class Listener(NamedTuple):
    """A named address. An empty host stands for every interface, port 0 for a free one."""

    name: str
    host: str
    port: int
    security_protocol: str


def protocol_map(text: str) -> dict[str, str]:
    """Listener name → security protocol, from `listener.security.protocol.map`."""
    key = "listener.security.protocol.map"
    protocols: dict[str, str] = {}
    for part in split(text):
        name, colon, protocol = (piece.strip() for piece in part.partition(":"))
        if not colon or not name:
            raise ConfigError(key, text, "expected NAME:PROTOCOL, with commas between several")
        if protocol.upper() not in PROTOCOLS:
            raise ConfigError(key, part, f"the security protocol must be one of {', '.join(PROTOCOLS)}")
        if name.upper() in protocols:
            raise ConfigError(key, text, f"names listener {name.upper()} twice")
        protocols[name.upper()] = protocol.upper()
    return protocols


def parse_listeners(
    texts: Sequence[str], protocols: dict[str, str], *, key: str = "listeners", without: Sequence[str] = ()
) -> tuple[Listener, ...]:
    """The addresses to serve, in order; raises ConfigError."""
    left_out = {name.upper() for name in without}
    listeners = [_parse(key, text, protocols, left_out) for text in texts]
    names = [listener.name for listener in listeners]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(key, ",".join(texts), f"each listener must have a different name: {name} stands twice")
    served = tuple(listener for listener in listeners if listener.name not in left_out)
    if not served:
        raise ConfigError(key, ",".join(texts), f"at least one listener is needed; {_EXPECTED}")
    if key == "listeners":
        _refuse_shared_ports(texts, served)
    return served


def parse_advertised(
    texts: Sequence[str], protocols: dict[str, str], listeners: Sequence[Listener], *, without: Sequence[str] = ()
) -> tuple[Listener, ...]:
    """The addresses to tell clients, of some or all of the listeners; raises ConfigError.

    An empty host or port 0 is filled in from the connection on which a client asks.
    """
    key = "advertised.listeners"
    advertised = parse_listeners(texts, protocols, key=key, without=without)
    known = [listener.name for listener in listeners]
    for listener in advertised:
        if listener.host in _WILDCARDS:
            raise ConfigError(
                key,
                ",".join(texts),
                f"cannot use the nonroutable meta-address {listener.host}: use a routable IP address",
            )
        if listener.name not in known:
            raise ConfigError(key, ",".join(texts), f"{listener.name} isn't among the listeners {', '.join(known)}")
    return advertised


def _parse(key: str, text: str, protocols: dict[str, str], left_out: set[str]) -> Listener:
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigError(key, text, _EXPECTED)
    name = found[1].strip().upper()
    port = int(found[4])
    if port > 65535:
        raise ConfigError(key, text, "the port must be between 0 and 65535")
    protocol = protocols.get(name, "PLAINTEXT" if name in left_out else "")
    if not protocol:
        allowed = (
            f"no security protocol is defined for listener {name}: add it to listener.security.protocol.map, e.g. "
        )
        raise ConfigError(key, text, allowed + f"{name}:PLAINTEXT")
    return Listener(name, found[2] if found[2] is not None else found[3], port, protocol)


def _refuse_shared_ports(texts: Sequence[str], listeners: Sequence[Listener]) -> None:
    """Two listeners may share a port on different hosts only, as 127.0.0.1 and ::1."""
    taken: dict[int, list[str]] = {}
    for listener in listeners:
        if listener.port == 0:
            continue
        hosts = taken.setdefault(listener.port, [])
        if hosts and (listener.host in hosts or "" in (listener.host, *hosts)):
            allowed = f"each listener must have a different port: {listener.port} stands twice"
            raise ConfigError("listeners", ",".join(texts), allowed)
        hosts.append(listener.host)


def unmapped(host: str) -> str:
    """An IPv4 address as it is written, where a socket for both families shows it as IPv6 (`::ffff:10.0.0.1`)."""
    plain = host.removeprefix("::ffff:")
    return plain if "." in plain else host


def endpoint_text(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
