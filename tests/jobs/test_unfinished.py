"""Calls that end before their work does, and the same calls again: one piece of work, and one payment a post."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_tikhub import World, call, link, show, until
from tests.support.mcp_session import patience
from tests.support.raw_answers import change_index
from tikhub_mcp.jobs.model import Options, Outcome
from tikhub_mcp.posts.links import Link

Story = Callable[[World], Coroutine[Any, Any, None]]
MANY = [link(number) for number in range(30)]


def stories(tmp_path: Path, *told: Story, reuse_seconds: float = 3600.0) -> None:
    """Tell them one after the other, each in a process of its own as far as memory goes."""
    for story in told:
        show(tmp_path, story, reuse_seconds=reuse_seconds)


async def pending(world: World, links: list[Link], options: Options, answered: int) -> dict[str, Outcome]:
    """A call whose time is up when so many of its posts are answered, and none is fetched."""
    world.downloader.go.clear()
    outcomes = await world.jobs.get_all(call(seconds=patience(0.3)), links, options, 10, world.seen.append)
    assert {outcome.status for outcome in outcomes.values()} == {"pending"}
    assert len(world.tikhub.asked) == answered
    world.downloader.go.set()
    await until(lambda: not world.jobs._jobs)
    return outcomes


async def done(world: World, links: list[Link], options: Options, paid: int) -> None:
    """The same call again: all of it is done, and so many posts are paid for in it."""
    again = call()
    outcomes = await world.jobs.get_all(again, links, options, 10, world.seen.append)
    assert {outcome.status for outcome in outcomes.values()} == {"ok"}
    assert again.api_calls == paid


@pytest.mark.slow
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("refresh", "reuse_seconds"), [(True, 3600.0), (False, 0.0)])
def test_a_call_that_was_pending_and_the_same_again_pay_once_a_post_also_after_a_restart(
    tmp_path: Path, refresh: bool, reuse_seconds: float, restarted: bool
) -> None:
    async def first(world: World) -> None:
        await pending(world, MANY, replace(world.options, refresh=refresh), answered=10)
        if not restarted:
            await second(world)

    async def second(world: World) -> None:
        await done(world, MANY, replace(world.options, refresh=refresh), paid=20)
        await done(world, MANY, replace(world.options, refresh=refresh), paid=30)  # it was done: this is a new one

    stories(tmp_path, first, *[second] * restarted, reuse_seconds=reuse_seconds)


@pytest.mark.slow
@pytest.mark.parametrize("restarted", [False, True])
def test_of_many_calls_the_first_ones_start_is_what_counts(tmp_path: Path, restarted: bool) -> None:
    paid: list[str] = []

    async def again(world: World) -> None:
        for _ in range(1 if restarted else 3):
            world.downloader.go.clear()
            await world.jobs.get_all(
                call(seconds=0.2), MANY, replace(world.options, refresh=True), 10, world.seen.append
            )
            world.downloader.go.set()
            await until(lambda: not world.jobs._jobs)
        paid.extend(world.tikhub.asked)

    async def last(world: World) -> None:
        await world.jobs.get_all(call(), MANY, replace(world.options, refresh=True), 10, world.seen.append)
        paid.extend(world.tikhub.asked)

    stories(tmp_path, *[again] * (3 if restarted else 1), last)
    assert sorted(paid) == sorted(link.key for link in MANY)


def test_the_same_call_by_two_processes_at_once_pays_once_a_post(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        other = World(tmp_path)
        options = replace(world.options, refresh=True)
        world.downloader.go.clear()
        one = asyncio.create_task(world.jobs.get_all(call(), MANY[:5], options, 10, world.seen.append))
        await until(lambda: len(world.downloader.targets) == 5)  # all of it is paid for, and nothing done
        two = asyncio.create_task(other.jobs.get_all(call(), MANY[:5], options, 10, other.seen.append))
        await asyncio.sleep(0.1)
        world.downloader.go.set()
        for outcomes in (await one, await two):
            assert {outcome.status for outcome in outcomes.values()} == {"ok"}
        assert (len(world.tikhub.asked), len(other.tikhub.asked)) == (5, 0)
        await other.jobs.close()

    show(tmp_path, story)


@pytest.mark.slow
def test_links_that_were_left_are_not_paid_again_in_a_call_of_their_own(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        options = replace(world.options, refresh=True)
        await pending(world, MANY, options, answered=10)
        await done(world, MANY[:12], options, paid=2)  # what `retry_urls` are for
        await done(world, [MANY[0]], options, paid=1)  # it is done

    show(tmp_path, story)


def test_another_call_about_a_link_that_is_done_is_another_wish(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        options = replace(world.options, refresh=True)
        await done(world, [MANY[0]], options, paid=1)
        world.tikhub.go.clear()
        await world.jobs.get_all(call(seconds=0.2), MANY[:2], options, 10, world.seen.append)
        world.tikhub.go.set()
        await until(lambda: not world.jobs._jobs)
        await done(world, MANY[:2], options, paid=0)
        await done(world, [MANY[1]], options, paid=1)
        await done(world, [MANY[1]], replace(options, quality="best"), paid=1)

    show(tmp_path, story)


@pytest.mark.slow
def test_what_was_cancelled_or_stopped_by_the_cap_is_gone_on_with(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        options = replace(world.options, refresh=True)
        world.downloader.go.clear()
        cancelled = asyncio.create_task(world.jobs.get_all(call(), MANY, options, 10, world.seen.append))
        await until(lambda: len(world.downloader.targets) == 10)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        world.downloader.go.set()
        capped = await world.jobs.get_all(call(cap=5), MANY, options, 10, world.seen.append)
        assert [outcome.status for outcome in capped.values()].count("ok") == 15
        await done(world, MANY, options, paid=15)

    show(tmp_path, story)


@pytest.mark.slow
@pytest.mark.parametrize(("minutes", "paid"), [(29, 0), (31, 10)])
def test_half_an_hour_after_a_call_the_same_again_is_a_new_one(tmp_path: Path, minutes: int, paid: int) -> None:
    async def first(world: World) -> None:
        await pending(world, MANY[:10], replace(world.options, refresh=True), answered=10)

    async def second(world: World) -> None:
        await done(world, MANY[:10], replace(world.options, refresh=True), paid=paid)

    show(tmp_path, first)
    change_index(tmp_path, "UPDATE moments SET touched = touched - ? WHERE kind = 'call'", 60 * minutes)
    show(tmp_path, second)


def test_each_answer_notes_that_its_call_goes_on_so_that_one_of_hours_can_be_joined_after_a_kill(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        options = replace(world.options, refresh=True)
        world.downloader.go.clear()
        running = asyncio.create_task(world.jobs.get_all(call(), MANY[:2], options, 1, world.seen.append))
        await until(lambda: len(world.downloader.targets) == 1)
        change_index(tmp_path, "UPDATE moments SET touched = touched - 7200")  # when it began
        world.downloader.go.set()
        await until(lambda: len(world.downloader.targets) == 2)  # a further answer came
        ((touched,),) = world.jobs._archive.database.read("SELECT touched FROM moments WHERE kind = 'call'")
        assert float(touched) > time.time() - 60
        await running

    show(tmp_path, story)


@pytest.mark.slow
def test_a_call_that_ended_pending_is_resumed_although_the_same_call_of_another_client_is_done(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        options = replace(world.options, refresh=True)
        other = World(tmp_path)
        other.downloader.go.clear()
        slow = asyncio.create_task(other.jobs.get_all(call(), MANY[:5], options, 10, other.seen.append))
        await until(lambda: len(other.downloader.targets) == 5)
        await pending(world, MANY[:5], options, answered=0)
        other.downloader.go.set()
        await slow
        await done(world, MANY[:5], options, paid=0)
        await done(world, MANY[:5], options, paid=5)  # all of it is done: this is a new one
        assert len(other.tikhub.asked) == 5
        await other.jobs.close()

    show(tmp_path, story)


def test_work_that_its_remaining_links_finished_is_done_and_the_same_call_is_a_new_one(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        options = replace(world.options, refresh=True)
        first = await world.jobs.get_all(call(cap=10), MANY[:15], options, 10, world.seen.append)
        left = [each for each in MANY[:15] if first[each.key].status == "skipped"]
        await done(world, left, options, paid=5)
        await done(world, MANY[:15], options, paid=15)

    show(tmp_path, story)


def test_links_of_a_cancelled_call_are_not_paid_again_in_a_call_of_their_own(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        options = replace(world.options, refresh=True)
        world.downloader.go.clear()
        cancelled = asyncio.create_task(world.jobs.get_all(call(), MANY[:5], options, 10, world.seen.append))
        await until(lambda: len(world.downloader.targets) == 5)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        world.downloader.go.set()
        await done(world, MANY[:2], options, paid=0)

    show(tmp_path, story)


@pytest.mark.slow
def test_an_answer_that_is_not_json_is_paid_for_once_in_a_piece_of_work(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        page, held = MANY[0], MANY[1]
        world.tikhub.pages = {page.key}
        lock = world.jobs._locks.here("answer", held.key)
        await lock.acquire()
        for paid in (1, 0, 0):
            waiting = call(seconds=0.3)
            outcomes = await world.get_all(waiting, [page, held])
            assert (outcomes[page.key].status, outcomes[held.key].status) == ("failed", "pending")
            assert waiting.api_calls == paid
        lock.release()
        await world.get_all(call(), [page, held])
        assert world.tikhub.asked.count(page.key) == 1
        await world.get_all(call(), [page, held])  # a new piece of work
        assert world.tikhub.asked.count(page.key) == 2

    show(tmp_path, story)
