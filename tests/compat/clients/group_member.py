"""A member of a group that polls on a thread of its own, or in a process of its own to be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from driver import Consumer, Driver, Message, Partition


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 15) -> None:
    """Poll a condition; AssertionError with `what` when it doesn't come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)


class Member:
    """A consumer polled by a thread; `assigned` is its newest assignment, `changes` counts assignments seen."""

    def __init__(self, driver: Driver, group: str, topic: str, **options: Any) -> None:
        self.assigned: set[Partition] = set()
        self.history: list[set[Partition]] = []
        self.messages: list[Message] = []
        self.error: BaseException | None = None
        self._consumer: Consumer = driver.consumer(group, **({"auto_commit": False} | options))
        self._topic = topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._consumer.subscribe([self._topic])
            while not self._stop.is_set():
                self.messages += self._consumer.poll(0.1)
                assigned = set(self._consumer.assignment())
                if assigned != self.assigned:
                    self.assigned = assigned
                    self.history.append(assigned)
            self._consumer.close()
        except BaseException as error:
            self.error = error

    def close(self) -> None:
        """Leave cleanly."""
        self._stop.set()
        self._thread.join(30)
        if self.error is not None:
            raise self.error


class MemberProcess:
    """The same client as a process, which can be killed without a word to the broker."""

    def __init__(self, driver: Driver, group: str, topic: str, role: str = "--member") -> None:
        """In another role than the ordinary one `assigned` is what that prints."""
        self.assigned: list[int] = []
        self._process = subprocess.Popen(
            [sys.executable, sys.argv[0], driver.bootstrap, role, group, topic],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.assigned = json.loads(line)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
