"""Reads the common form of `sasl.jaas.config`: `org…PlainLoginModule required username="a" password="b" user_a="b";`.

It never says a value in an error: they are passwords.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MODULE = re.compile(r"\s*([\w.$]+)\s+(required|requisite|sufficient|optional)\b", re.IGNORECASE)
_OPTION = re.compile(r"\s*([\w.\-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|([^\s;\"']+))")
USER_PREFIX = "user_"
EXPECTED = 'expected the form: org.example.LoginModule required name="value" …;'


class LoginModule(NamedTuple):
    """One login module: its class and its options."""

    name: str
    options: dict[str, str]

    @property
    def users(self) -> dict[str, str]:
        """The `user_NAME="PASSWORD"` entries, by name."""
        return {key[len(USER_PREFIX) :]: text for key, text in self.options.items() if key.startswith(USER_PREFIX)}

    def __repr__(self) -> str:
        return f"LoginModule({self.name}, {', '.join(self.options)})"


def parse_jaas(text: str) -> LoginModule:
    """The one login module of a `sasl.jaas.config`; raises ValueError."""
    module = _MODULE.match(text)
    if module is None:
        raise ValueError(EXPECTED)
    options: dict[str, str] = {}
    at = module.end()
    while option := _OPTION.match(text, at):
        value = next(group for group in option.groups()[1:] if group is not None)
        options[option[1]] = re.sub(r"\\(.)", r"\1", value) if option[4] is None else value
        at = option.end()
    if text[at:].strip() != ";":
        raise ValueError(EXPECTED + " with a semicolon at its end, and one module alone")
    return LoginModule(module[1], options)
