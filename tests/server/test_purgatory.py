"""Waits: completed by a check, by time, by shutdown; nothing is left behind."""

import trio
from trio.testing import MockClock

from pykbroker.server.purgatory import Purgatory


async def test_a_change_just_before_the_wait_is_not_missed() -> None:
    assert await Purgatory().wait_until(lambda: True, ["a"], 1000)


async def test_a_check_of_one_of_the_keys_ends_the_wait(autojump_clock: MockClock) -> None:
    purgatory, ready, seen = Purgatory(), [False], []

    async def wait() -> None:
        seen.append(await purgatory.wait_until(lambda: ready[0], ["a", "b"], 1000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        purgatory.check("b")
        await trio.testing.wait_all_tasks_blocked()
        assert seen == []  # checked, but not ready
        assert len(purgatory) == 1
        ready[0] = True
        purgatory.check("c")
        await trio.testing.wait_all_tasks_blocked()
        assert seen == []  # ready, but another key
        purgatory.check("b")
    assert seen == [True]
    assert len(purgatory) == 0
    assert trio.current_time() == 0


async def test_a_key_that_is_named_twice_is_waited_on_once(autojump_clock: MockClock) -> None:
    purgatory = Purgatory()
    assert not await purgatory.wait_until(lambda: False, ["a", "a"], 5)
    assert len(purgatory) == 0


async def test_time_ends_the_wait(autojump_clock: MockClock) -> None:
    purgatory, start = Purgatory(), trio.current_time()
    assert not await purgatory.wait_until(lambda: False, ["a"], 5)
    assert trio.current_time() - start == 5
    assert len(purgatory) == 0


async def test_no_time_is_no_wait() -> None:
    assert not await Purgatory().wait_until(lambda: False, ["a"], 0)


async def test_shutdown_ends_all_waits_and_those_to_come(autojump_clock: MockClock) -> None:
    purgatory, seen = Purgatory(), []

    async def wait() -> None:
        seen.append(await purgatory.wait_until(lambda: False, ["a"], 1000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        purgatory.close()
    assert seen == [False]
    assert not await purgatory.wait_until(lambda: False, ["a"], 1000)
    assert trio.current_time() == 0


async def test_a_cancelled_wait_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    purgatory = Purgatory()
    with trio.move_on_after(1):
        await purgatory.wait_until(lambda: False, ["a", "b"], 1000)
    assert len(purgatory) == 0
