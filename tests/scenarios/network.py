"""A network of machines inside this one: a network namespace each, on one switch, so that links can really be cut.

Nothing of it can be seen from outside: the switch has a namespace of its own, too. It takes root and iproute2.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

CLONE_NEWNET = 0x40000000
SWITCH = "switch"
_serial = itertools.count()


def why_not() -> str | None:
    """Why namespaces can't be made here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces take root"
    try:
        _run("ip", "netns", "add", probe := f"pykb-{os.getpid()}-probe")
        _run("ip", "netns", "del", probe)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces here: {getattr(error, 'stderr', None) or error}"
    return None


class Network:
    """`with Network("a", "b") as network`: machines that find each other by name, or by `network.address("a")`."""

    def __init__(self, *names: str) -> None:
        self._prefix = f"pykb-{os.getpid()}-{next(_serial)}"
        self.names = names
        self._cut: set[tuple[str, str]] = set()

    def address(self, name: str) -> str:
        """A machine's own address."""
        return f"10.83.0.{self.names.index(name) + 1}"

    def namespace(self, name: str) -> str:
        """What iproute2 calls a machine."""
        return f"{self._prefix}-{name}"

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """A command as it is run on a machine."""
        return ["ip", "netns", "exec", self.namespace(name), *words]

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Sockets that this thread makes meanwhile, and processes that it starts, are on that machine."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.namespace(name)}") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def cut(self, one: str, other: str) -> None:
        """Packets between two machines are lost, in both directions."""
        for source, target in ((one, other), (other, one)):
            if (source, target) not in self._cut:
                self._cut.add((source, target))
                self._ip(source, "route", "add", "blackhole", f"{self.address(target)}/32")

    def heal(self) -> None:
        """All links are there again."""
        for source, target in self._cut:
            self._ip(source, "route", "del", "blackhole", f"{self.address(target)}/32")
        self._cut.clear()

    def _ip(self, name: str, *words: str) -> None:
        _run("ip", "-n", self.namespace(name), *words)

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _make(self) -> None:
        for name in (SWITCH, *self.names):
            _run("ip", "netns", "add", self.namespace(name))
            self._ip(name, "link", "set", "lo", "up")
        self._ip(SWITCH, "link", "add", "bridge", "type", "bridge")
        self._ip(SWITCH, "link", "set", "bridge", "up")
        known = "".join(f"{self.address(name)} {name}\n" for name in self.names)
        for number, name in enumerate(self.names):
            port = f"port{number}"
            peer = ("peer", "name", port, "netns", self.namespace(SWITCH))
            self._ip(name, "link", "add", "eth0", "type", "veth", *peer)
            self._ip(name, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            self._ip(name, "link", "set", "eth0", "up")
            self._ip(SWITCH, "link", "set", port, "master", "bridge", "up")
            hosts = Path("/etc/netns", self.namespace(name), "hosts")
            hosts.parent.mkdir(parents=True)
            hosts.write_text(f"127.0.0.1 localhost\n{known}")

    def _remove(self) -> None:
        for name in (*self.names, SWITCH):
            subprocess.run(["ip", "netns", "del", self.namespace(name)], capture_output=True, check=False)
            folder = Path("/etc/netns", self.namespace(name))
            (folder / "hosts").unlink(missing_ok=True)
            if folder.exists():
                folder.rmdir()


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)
