"""Who a client certificate stands for: its distinguished name, and `ssl.principal.mapping.rules` (KIP-371)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pykbroker.config.keys import ConfigError
from pykbroker.security.principal import ANONYMOUS, USER, KafkaPrincipal

_KEYWORDS = {
    "commonName": "CN",
    "organizationalUnitName": "OU",
    "organizationName": "O",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
"""RFC 2253's short names, by OpenSSL's."""
_BY_NUMBER = {
    "emailAddress": ("1.2.840.113549.1.9.1", 0x16),
    "serialNumber": ("2.5.4.5", 0x13),
    "title": ("2.5.4.12", 0x0C),
    "givenName": ("2.5.4.42", 0x0C),
    "surname": ("2.5.4.4", 0x0C),
}
"""Attributes that RFC 2253 writes by their number and the bytes of their value, as Java does."""
_RULE = re.compile(r"\s*(?:(DEFAULT)|RULE:((?:\\.|[^\\/])*)/((?:\\.|[^\\/])*)/([LU]?))\s*(?:,|$)")


def distinguished_name(subject: Iterable[Iterable[tuple[str, str]]]) -> str:
    """A certificate's subject, as Python's ssl gives it, in RFC 2253's form: the last part first."""
    parts = ["+".join(_attribute(key, value) for key, value in part) for part in subject]
    return ",".join(reversed(parts))


def _attribute(key: str, value: str) -> str:
    if key in _BY_NUMBER:
        number, tag = _BY_NUMBER[key]
        data = value.encode()
        return f"{number}=#{bytes([tag, len(data)]).hex()}{data.hex()}" if len(data) < 128 else f"{number}={value}"
    escaped = re.sub(r'([,+"\\<>;])', r"\\\1", value)
    if escaped[:1] in ("#", " "):
        escaped = "\\" + escaped
    if escaped.endswith(" ") and len(escaped) > 1:
        escaped = escaped[:-1] + "\\ "
    return f"{_KEYWORDS.get(key, key)}={escaped}"


class MappingRules:
    """`RULE:pattern/replacement/[LU]` and DEFAULT, with commas between; the first that matches decides."""

    def __init__(self, text: str | None) -> None:
        """Reads the rules; raises ConfigError."""
        self._rules: list[tuple[re.Pattern[str], str, str] | None] = []
        text = (text or "DEFAULT").strip()
        at = 0
        while at < len(text):
            rule = _RULE.match(text, at)
            if rule is None:
                raise ConfigError(
                    "ssl.principal.mapping.rules", text, "expected RULE:pattern/replacement/[LU] or DEFAULT"
                )
            self._rules.append(None if rule[1] else self._rule(text, rule))
            at = rule.end()

    def _rule(self, text: str, rule: re.Match[str]) -> tuple[re.Pattern[str], str, str]:
        try:
            pattern = re.compile(rule[2])
        except re.error as error:
            raise ConfigError("ssl.principal.mapping.rules", text, f"{error} in the pattern {rule[2]}") from None
        return pattern, re.sub(r"\$(\d)", r"\\\1", rule[3]), rule[4]

    def principal(self, name: str | None) -> KafkaPrincipal:
        """The principal of a certificate's name; ANONYMOUS without a certificate. Raises NoRule."""
        if name is None:
            return ANONYMOUS
        for rule in self._rules:
            if rule is None:
                return KafkaPrincipal(USER, name)
            pattern, replacement, case = rule
            found = pattern.fullmatch(name)
            if found is not None:
                mapped = found.expand(replacement)
                return KafkaPrincipal(
                    USER, mapped.lower() if case == "L" else mapped.upper() if case == "U" else mapped
                )
        raise NoRule(f"no rule of ssl.principal.mapping.rules applies to {name}")


class NoRule(Exception):
    """A certificate's name that no rule is for: the connection can't be served."""
