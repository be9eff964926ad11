"""Every wait of a request stands here: how to wait, never why.

Why a request waits is a predicate over pure state; whoever changes that state calls `check` with the key that it
belongs to (a `TopicPartition`, mostly). Nothing polls: a wait costs nothing between two checks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import trio


class _Wait:
    __slots__ = ("done", "ready")

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.ready = ready
        self.done = trio.Event()


class Purgatory:
    """The requests that wait, by the keys whose changes may complete them."""

    def __init__(self) -> None:
        self._waits: dict[Hashable, set[_Wait]] = {}
        self._closed = False

    async def wait_until(self, ready: Callable[[], bool], keys: Iterable[Hashable], timeout: float) -> bool:
        """Waits until a `check` of one of `keys` finds `ready()` true; False after `timeout` seconds or at shutdown.

        `ready` is asked at once, too: a change just before the call is not missed.
        """
        if ready():
            return True
        if timeout <= 0 or self._closed:
            return False
        wait, keys = _Wait(ready), set(keys)
        for key in keys:
            self._waits.setdefault(key, set()).add(wait)
        try:
            with trio.move_on_after(timeout):
                await wait.done.wait()
        finally:
            for key in keys:
                waits = self._waits[key]
                waits.discard(wait)
                if not waits:
                    del self._waits[key]
        return ready()

    def check(self, key: Hashable) -> None:
        """Says that something about `key` has changed: completes the waits on it that are ready now."""
        waits = self._waits.get(key)
        if waits:
            for wait in waits:
                if not wait.done.is_set() and wait.ready():
                    wait.done.set()

    def __len__(self) -> int:
        return len({wait for waits in self._waits.values() for wait in waits})

    @property
    def closed(self) -> bool:
        """Whether the broker stops: no wait lasts any more."""
        return self._closed

    def close(self) -> None:
        """Lets every wait end now, as if its time were up, and every later one at once: the broker stops."""
        self._closed = True
        for waits in self._waits.values():
            for wait in waits:
                wait.done.set()
