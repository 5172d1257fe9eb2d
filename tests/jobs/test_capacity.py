"""Limits that the jobs of several people share: whose turn it is, and how much one person may ask for."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_tikhub import World, call, link, until
from tikhub_mcp.concurrency import Share
from tikhub_mcp.errors import RateLimited
from tikhub_mcp.jobs.capacity import Capacity
from tikhub_mcp.jobs.model import MAX_TRANSFERS


def play(tmp_path: Path, story: Callable[[World, World], Coroutine[Any, Any, None]], max_pending: int = 1000) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            capacity = Capacity(max_pending)
            worlds = [World(tmp_path / name, limits=capacity.share()) for name in ("alice", "bob")]
            await story(*worlds)
            await asyncio.gather(*(world.jobs.close() for world in worlds))

    asyncio.run(run())


def test_a_single_link_waits_for_one_transfer_of_a_batch_of_another_person(tmp_path: Path) -> None:
    async def story(alice: World, bob: World) -> None:
        ended = asyncio.Semaphore(0)
        alice.downloader.go.wait = ended.acquire  # type: ignore[method-assign]
        calls = [range(100), range(100, 200)]
        batches = [asyncio.create_task(alice.get_all(call(), [link(number) for number in each])) for each in calls]
        await until(lambda: alice.downloader.now == MAX_TRANSFERS and len(alice.seen) == 2 * MAX_TRANSFERS)
        single = asyncio.create_task(bob.get(call(), link()))
        await until(lambda: bool(bob.tikhub.asked))
        await asyncio.sleep(0.05)
        assert not bob.downloader.targets
        ended.release()  # one of alice's 200 ends
        assert (await single).status == "ok"
        assert len(alice.downloader.targets) <= MAX_TRANSFERS + 1
        for _ in range(199):
            ended.release()
        await asyncio.gather(*batches)

    play(tmp_path, story)


def test_the_ten_transfers_are_those_of_all_people(tmp_path: Path) -> None:
    async def story(alice: World, bob: World) -> None:
        for world in (alice, bob):
            world.downloader.go.clear()
        batches = [asyncio.create_task(alice.get_all(call(), [link(number) for number in range(30)]))]
        await until(lambda: alice.downloader.now == MAX_TRANSFERS)
        batches.append(asyncio.create_task(bob.get_all(call(), [link(number) for number in range(30)])))
        share = bob.jobs._worker._transfers
        assert isinstance(share, Share)
        await until(lambda: len(share._tasks) == MAX_TRANSFERS)
        alice.downloader.go.set()
        await until(lambda: bob.downloader.now > 0)
        assert alice.downloader.now + bob.downloader.now <= MAX_TRANSFERS
        bob.downloader.go.set()
        await asyncio.gather(*batches)
        assert max(alice.downloader.most, bob.downloader.most) <= MAX_TRANSFERS

    play(tmp_path, story)


def test_one_person_has_so_many_links_pending_and_the_same_ones_count_once(tmp_path: Path) -> None:
    async def story(alice: World, bob: World) -> None:
        alice.downloader.go.clear()
        links = [link(number) for number in range(20)]
        first = asyncio.create_task(alice.get_all(call(), links[:15]))
        await until(lambda: alice.downloader.now == MAX_TRANSFERS)
        again = asyncio.create_task(alice.get_all(call(), links[:15]))
        with pytest.raises(
            RateLimited, match=r"With these links, 20 would be pending, and .* 16 for one person"
        ) as error:
            await alice.get_all(call(), links[10:])
        assert error.value.retryable
        assert len(alice.tikhub.asked) == MAX_TRANSFERS
        bobs = asyncio.create_task(bob.get_all(call(), links[:16]))  # others may as ever
        alice.downloader.go.set()
        assert len(await bobs) == 16
        await asyncio.gather(first, again)
        assert len(await alice.get_all(call(), links[:16])) == 16

    play(tmp_path, story, max_pending=16)


def test_links_that_go_on_without_a_call_count_too(tmp_path: Path) -> None:
    async def story(alice: World, _: World) -> None:
        alice.downloader.go.clear()
        outcomes = await alice.get_all(call(seconds=0.2), [link(number) for number in range(10)])
        assert {outcome.status for outcome in outcomes.values()} == {"pending"}
        with pytest.raises(RateLimited):
            await alice.get_all(call(), [link(number) for number in range(10, 20)])
        alice.downloader.go.set()
        await until(lambda: not alice.jobs._jobs)
        assert len(await alice.get_all(call(), [link(number) for number in range(10, 20)])) == 10

    play(tmp_path, story, max_pending=15)
