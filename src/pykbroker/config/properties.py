"""Reads the text of a server.properties: Java's form, with comments, continued lines and escapes.

It never opens a file and knows no key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BLANKS = " \t\f"
BAD_ESCAPE = r"a \u escape needs four hexadecimal digits"
"""What is wrong where `parse_properties` raises."""
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def parse_properties(text: str) -> dict[str, str]:
    """Key → value; a key given twice has its last value. Raises ValueError for a broken `\\u` escape."""
    found: dict[str, str] = {}
    for line in _logical_lines(text):
        end = _key_end(line)
        rest = line[end:].lstrip(_BLANKS)
        if rest[:1] in ("=", ":"):
            rest = rest[1:].lstrip(_BLANKS)
        found[_unescape(line[:end])] = _unescape(rest)
    return found


def as_texts(config: Mapping[str, Any]) -> dict[str, str]:
    """A program's config values as a file of properties has them."""
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in config.items()}


def _logical_lines(text: str) -> Iterator[str]:
    pending = ""
    for raw in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        line = raw.lstrip(_BLANKS)
        if not pending and (not line or line[0] in "#!"):
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            pending += line[:-1]
            continue
        yield pending + line
        pending = ""
    if pending:
        yield pending


def _key_end(line: str) -> int:
    at = 0
    while at < len(line):
        if line[at] == "\\":
            at += 1
        elif line[at] in "=:" or line[at] in _BLANKS:
            break
        at += 1
    return min(at, len(line))


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    parts: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\" and at < len(text):
            char = text[at]
            at += 1
            if char == "u":
                digits = text[at : at + 4]
                if len(digits) < 4:
                    raise ValueError(f"invalid literal: {digits!r}")
                char = chr(int(digits, 16))
                at += 4
            else:
                char = _ESCAPES.get(char, char)
        parts.append(char)
    return "".join(parts)
