"""What a command answers: a document for programs, tables for people, and a line on stderr for what failed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TextIO

from pykbroker.protocol.errors import KafkaError

GAP = "   "
NOTHING = "-"


class Table(NamedTuple):
    """Rows with the same keys; a column's heading is its key in capitals, with dashes."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    title: str = ""

    def lines(self) -> list[str]:
        """The table as text, columns as wide as they need be; numbers stand right."""
        heads = [column.upper().replace("_", "-") for column in self.columns]
        cells = [[cell(row.get(column)) for column in self.columns] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
        right = [
            any(isinstance(row.get(column), int) for row in self.rows)
            and all(isinstance(row.get(column), (int, type(None))) for row in self.rows)
            for column in self.columns
        ]
        texts = [self.title] if self.title else []
        for row in (heads, *cells):
            padded = (
                text.rjust(width) if is_right else text.ljust(width)
                for text, width, is_right in zip(row, widths, right, strict=True)
            )
            texts.append(GAP.join(padded).rstrip())
        return texts


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None or value == "" or value == []:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(map(cell, value))
    return str(value)


@dataclass
class Report:
    """An answer. `text` holds tables and lines; `failures` name what failed and why, and make the exit status 1."""

    document: Any = None
    text: Sequence[Table | str] = ()
    failures: Sequence[tuple[str, KafkaError]] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    """Lines for people on stderr."""
    streamed: bool = False
    """Everything was printed as it came."""

    def write(self, as_json: bool, out: TextIO) -> None:
        """Prints it."""
        if self.streamed:
            pass
        elif as_json:
            json.dump(self.document, out, indent=2, ensure_ascii=False)
            out.write("\n")
        else:
            blank = False
            for part in self.text:
                if isinstance(part, Table):
                    lines = part.lines()
                    out.write("\n" if blank else "")
                    blank = True
                else:
                    lines = [part]
                out.writelines(line + "\n" for line in lines)
        out.flush()


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], nothing: str = "") -> Report:
    """A report of one table; `nothing` is said to people when it is empty."""
    found = list(rows)
    notes = [nothing] if nothing and not found else []
    return Report(found, [Table(columns, found)] if found else [], notes=notes)


class Change(NamedTuple):
    """What was asked for and whether it came to be; `also` joins the name in the document."""

    name: str
    said: str
    error: KafkaError | None = None
    also: Mapping[str, Any] = {}


def changes(key: str, done: Iterable[Change]) -> Report:
    """A report of changes: a line each, and a list of objects with `key`, what else is known, and `error`."""
    found = list(done)
    document = [{key: change.name, **change.also, "error": error_document(change.error)} for change in found]
    lines = [change.said for change in found if change.error is None]
    return Report(document, lines, [(change.name, change.error) for change in found if change.error is not None])


def error_document(error: KafkaError | None) -> dict[str, Any] | None:
    """An error in a document: its code by name, and its message."""
    return None if error is None else {"code": error.code.name, "message": error.message}


class Progress:
    """How far a long operation is, on one line of a terminal; nothing at all where stderr is none."""

    def __init__(self, what: str, total: int | None = None, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._what = what
        self._total = total
        self._last = ""

    def __call__(self, done: int, note: str = "") -> None:
        """Shows a number, of the total where one is known."""
        if not self._shown:
            return
        of = f" of {self._total}" if self._total is not None else ""
        text = f"{self._what}: {done}{of}{' ' + note if note else ''}"
        if text != self._last:
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()
            self._last = text

    def end(self) -> None:
        """Takes the line away."""
        if self._shown and self._last:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def confirm(question: str, answer: Callable[[str], str] = input) -> bool:
    """Asks a person; without a terminal the answer is no."""
    if not sys.stdin.isatty():
        return False
    return answer(f"{question} [y/N] ").strip().lower() in ("y", "yes")
