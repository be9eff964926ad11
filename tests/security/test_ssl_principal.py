"""Names of certificates, and the rules that make principals of them."""

from __future__ import annotations

import pytest

from pykbroker.config.keys import ConfigError
from pykbroker.security.principal import ANONYMOUS
from pykbroker.security.ssl_principal import MappingRules, NoRule, distinguished_name

SUBJECT = ((("countryName", "CH"),), (("organizationName", "A, B"),), (("commonName", "duke"),))


def test_a_name_in_rfc_2253() -> None:
    assert distinguished_name(SUBJECT) == "CN=duke,O=A\\, B,C=CH"
    assert distinguished_name(((("commonName", "#a "), ("userId", "x+y")),)) == "CN=\\#a\\ +UID=x\\+y"
    assert distinguished_name(((("emailAddress", "a@b"),),)) == "1.2.840.113549.1.9.1=#1603614062"


@pytest.mark.parametrize(
    ("rules", "principal"),
    [
        (None, "User:CN=Duke,OU=ServiceUsers,O=Org"),
        ("DEFAULT", "User:CN=Duke,OU=ServiceUsers,O=Org"),
        ("RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/", "User:Duke"),
        ("RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/L", "User:duke"),
        ("RULE:^CN=(.*?),OU=(.*?),.*$/$1@$2/U", "User:DUKE@SERVICEUSERS"),
        ("RULE:^OU=x$/$1/L , RULE:^CN=(.*?),.*$/$1/ , DEFAULT", "User:Duke"),
        ("RULE:^OU=.*$/never/, DEFAULT", "User:CN=Duke,OU=ServiceUsers,O=Org"),
    ],
)
def test_rules(rules: str | None, principal: str) -> None:
    assert str(MappingRules(rules).principal("CN=Duke,OU=ServiceUsers,O=Org")) == principal


def test_without_a_certificate() -> None:
    assert MappingRules("DEFAULT").principal(None) == ANONYMOUS


def test_a_name_that_no_rule_is_for() -> None:
    with pytest.raises(NoRule):
        MappingRules("RULE:^CN=x$/x/").principal("CN=y")


@pytest.mark.parametrize("rules", ["default", "RULE:a/b", "RULE:(/b/", "RULE:^a$/b/L DEFAULT"])
def test_rules_that_are_none(rules: str) -> None:
    with pytest.raises(ConfigError, match="principal"):
        MappingRules(rules)
