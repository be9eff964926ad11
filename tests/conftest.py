"""Disks that fail: system calls on files below a directory raise what a broken or full disk does."""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["tests.zookeepers"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Run in the background of a shell: the programs that tests interrupt would inherit that they are not to be.
    signal.signal(signal.SIGINT, signal.default_int_handler)

CALLS = ("open", "pread", "pwrite", "fsync", "ftruncate", "rename", "replace", "unlink")


class Disk:
    """Passes the process's file calls on, counts those below the directories that it is told of, fails some."""

    def __init__(self) -> None:
        self._faults: list[tuple[str, int, str, str]] = []
        self.calls: Counter[str] = Counter()
        self.watched = ""

    @contextmanager
    def failing(self, call: str, code: int, below: Path, suffix: str = "") -> Iterator[None]:
        """Has a call fail with an errno for files below a directory whose name ends in `suffix`."""
        fault = call, code, str(below), suffix
        self._faults.append(fault)
        try:
            yield
        finally:
            self._faults.remove(fault)

    def met(self, call: str, target: Any) -> None:
        path = _path_of(target)
        if self.watched and path.startswith(self.watched):
            self.calls[call] += 1
        for failing, code, below, suffix in self._faults:
            if failing == call and path.startswith(below) and path.endswith(suffix):
                raise OSError(code, os.strerror(code), path)


def _path_of(target: Any) -> str:
    if isinstance(target, int):
        try:
            return os.readlink(f"/proc/self/fd/{target}")
        except OSError:
            return ""
    return os.fspath(target)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk of this test."""
    made = Disk()

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any, *arguments: Any, **others: Any) -> Any:
            if name == "pwrite" and made._faults:
                try:
                    made.met(name, target)
                except OSError as error:
                    if error.errno == errno.ENOSPC and len(arguments[0]) > 1:  # A full disk takes what still fits.
                        real(target, bytes(arguments[0][: len(arguments[0]) // 2]), *arguments[1:])
                    raise
            else:
                made.met(name, target)
            return real(target, *arguments, **others)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, wrapped(name, getattr(os, name)))
    return made
