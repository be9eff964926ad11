"""What this package uses of construct, for mypy: construct itself carries no types. Never imported at run time."""

from __future__ import annotations

from types import ModuleType
from typing import Any


class CodeGen:
    """The source of one compiled construct."""

    linkedinstances: dict[int, Any]
    keeps_view: bool  # ours: whether the code is to read from a memoryview

    def append(self, block: str) -> None:
        """Adds a block of lines, once."""

    def allocateId(self) -> int:  # noqa: N802 - construct's own name
        """A number that wasn't given before."""
        raise NotImplementedError


class Construct:
    """A way to parse and to build."""

    def compile(self) -> Compiled:
        """The same, as generated code."""
        raise NotImplementedError

    def _parse(self, stream: Any, context: Any, path: Any) -> Any: ...

    def _build(self, obj: Any, stream: Any, context: Any, path: Any) -> Any: ...


class Compiled(Construct):
    """A module of generated code."""

    source: str
    module: ModuleType


class FormatField(Construct):
    """A number by its letter in `struct`."""

    length: int
    fmtstr: str

    def __init__(self, endianity: str, format: str) -> None: ...
