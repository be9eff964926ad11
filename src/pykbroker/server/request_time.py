"""How long the event loop worked for a request, for quotas of a percentage of it. Waits don't count, nor do threads.

Only while somebody has such a quota does the loop look at its clock between two steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import trio


class RequestTimes(trio.abc.Instrument):
    """The time that tasks ran, of those that ask for it."""

    def __init__(self) -> None:
        self._spent: dict[trio.lowlevel.Task, int] = {}
        self._step_began = 0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measures the current task from here to the end of the block."""
        task = trio.lowlevel.current_task()
        if not self._spent:
            trio.lowlevel.add_instrument(self)
        self._step_began = time.perf_counter_ns()
        self._spent[task] = 0
        try:
            yield
        finally:
            del self._spent[task]
            if not self._spent:
                trio.lowlevel.remove_instrument(self)

    def spent_ns(self) -> int:
        """What the current task has spent so far, in nanoseconds; 0 where it isn't measured."""
        spent = self._spent.get(trio.lowlevel.current_task())
        return 0 if spent is None else spent + time.perf_counter_ns() - self._step_began

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task's turn begins."""
        self._step_began = time.perf_counter_ns()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It waits now, or lets others have a turn."""
        spent = self._spent.get(task)
        if spent is not None:
            self._spent[task] = spent + time.perf_counter_ns() - self._step_began
