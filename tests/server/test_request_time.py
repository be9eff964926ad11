"""How long the event loop worked for a request."""

import time

import trio

from pykbroker.server.request_time import RequestTimes


def work(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def test_work_counts_and_waits_do_not() -> None:
    times = RequestTimes()
    spent: dict[str, int] = {}

    async def busy() -> None:
        with times.measuring():
            work(0.01)
            await trio.sleep(0.02)
            work(0.01)
            spent["busy"] = times.spent_ns()

    async def idle() -> None:
        with times.measuring():
            await trio.sleep(0.03)
            spent["idle"] = times.spent_ns()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy)
        nursery.start_soon(idle)
    assert spent["busy"] >= 20_000_000
    assert spent["idle"] < spent["busy"] / 2


async def test_a_task_that_is_not_measured_spends_nothing() -> None:
    times = RequestTimes()
    work(0.001)
    assert times.spent_ns() == 0
    with times.measuring():
        assert times.spent_ns() >= 0
    assert times.spent_ns() == 0
