"""scheduler.py and model.py: one job a post, ten at once, in time, within budget; with a TikHub that answers on cue."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.downloads import SIZE, VIDEO
from tests.support.fake_tikhub import FIRST, World, call, douyin, link, show, until, video
from tests.support.fault_server import Act, Faulty
from tests.support.mcp_session import patience
from tests.support.payloads import envelope, tiktok_post
from tikhub_mcp.api.client import PATH
from tikhub_mcp.errors import ApiCallLimit, KeyInvalid, MediaUnavailable, PermissionDenied, TikHubUnavailable
from tikhub_mcp.jobs.model import MAX_TRANSFERS, Job, Options, Outcome
from tikhub_mcp.jobs.scheduler import LOCK_NAME, Jobs, Plan
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.posts.links import Link, parse_link
from tikhub_mcp.posts.post import Post
from tikhub_mcp.settings.environment import Settings
from tikhub_mcp.storage.database import INDEX_NAME


def test_a_link_becomes_an_answer_on_disk_and_a_file_under_its_name(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        outcome = await world.get(call(), link())
        assert (outcome.status, outcome.api_calls, outcome.reused_answer) == ("ok", 1, False)
        assert outcome.post is not None
        assert outcome.post.video_id == str(FIRST)
        assert outcome.raw_path is not None
        assert outcome.raw_path.is_file()
        assert [target.parent for target in world.downloader.targets] == [tmp_path / "videos"]

    show(tmp_path, story)


def test_of_what_is_done_the_links_to_its_files_are_not_remembered(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        outcome = await world.get(call(), link())
        assert outcome.status == "ok"
        assert outcome.post is not None
        assert outcome.post.renditions == ()  # real answers have 50 kB of them, and a batch thousands of answers

    show(tmp_path, story)


def test_two_calls_for_one_post_share_one_job_and_one_payment(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.go.clear()
        first = asyncio.create_task(world.get(call(), link()))
        await world.tikhub.began.wait()
        second = asyncio.create_task(world.get(call(), link()))
        await asyncio.sleep(0)
        world.tikhub.go.set()
        outcomes = await asyncio.gather(first, second)
        assert [outcome.status for outcome in outcomes] == ["ok", "ok"]
        assert [outcome.api_calls for outcome in outcomes] == [1, 0]
        assert len(world.tikhub.asked) == len(world.downloader.targets) == 1

    show(tmp_path, story)


def test_two_qualities_of_one_post_at_once_cost_one_call(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        outcomes = await asyncio.gather(world.get(call(), link()), world.get(call(), link(), quality="smallest"))
        assert [outcome.status for outcome in outcomes] == ["ok", "ok"]
        assert len(world.tikhub.asked) == 1
        assert len({target.name for target in world.downloader.targets}) == 2

    show(tmp_path, story)


def test_two_links_that_turn_out_to_be_one_post_are_fetched_one_after_the_other(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        short = parse_link("https://vm.tiktok.com/Zx1/")
        world.tikhub.posts[short.key] = tiktok_post(aweme_id=str(FIRST))
        world.tikhub.go.clear()
        both = asyncio.gather(world.get(call(), link()), world.get(call(), short))
        await until(lambda: len(world.tikhub.asked) == 2)  # nobody could know
        world.tikhub.go.set()
        assert [outcome.status for outcome in await both] == ["ok", "ok"]
        assert world.downloader.most == 1

    show(tmp_path, story)


@pytest.mark.slow
def test_ten_transfers_run_at_once_in_the_whole_process_not_per_call(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.downloader.go.clear()
        batches = [
            asyncio.create_task(world.get_all(call(), [link(batch * 20 + number) for number in range(20)]))
            for batch in range(5)
        ]
        await until(lambda: world.downloader.now == MAX_TRANSFERS)
        await until(lambda: len(world.tikhub.asked) == 5 * 10)  # a look-up takes no slot of theirs
        world.downloader.go.set()
        found = await asyncio.gather(*batches)
        assert world.downloader.most == MAX_TRANSFERS
        assert sum(len(outcomes) for outcomes in found) == 100

    show(tmp_path, story)


@pytest.mark.slow
def test_a_question_that_needs_no_file_is_answered_while_ten_slow_transfers_run_and_more_wait(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.downloader.go.clear()
        batches = [
            asyncio.create_task(world.get_all(call(), [link(batch * 10 + number) for number in range(10)]))
            for batch in range(2)
        ]
        await until(lambda: len(world.tikhub.asked) == 20)
        outcome = await world.get(call(seconds=5), link(50), metrics_only=True)
        assert (outcome.status, outcome.api_calls) == ("ok", 1)
        assert world.downloader.now == MAX_TRANSFERS
        world.downloader.go.set()
        await asyncio.gather(*batches)

    show(tmp_path, story)


@pytest.mark.slow
def test_jobs_that_wait_for_the_locks_of_another_process_hold_up_no_other_job(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        taken = {link(number).key for number in range(12)}
        async with AsyncExitStack() as held:
            for key in taken:
                await held.enter_async_context(world.jobs._locks.everywhere("answer", key))
            for number in range(12):
                await held.enter_async_context(world.jobs._locks.everywhere(*world.file_lock(link(number + 20))))
            waiting = [
                asyncio.create_task(world.get_all(call(), [link(first + number) for number in range(12)], workers=12))
                for first in (0, 20)
            ]
            await until(lambda: len(world.tikhub.asked) == 12)
            assert (await world.get(call(seconds=5), link(50))).status == "ok"
            assert len(world.downloader.targets) == 1
        await asyncio.gather(*waiting)
        assert len(world.downloader.targets) == 25

    show(tmp_path, story)


@pytest.mark.slow
def test_the_wait_for_a_slot_is_not_counted_as_the_time_of_a_transfer(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.downloader.go.clear()
        full = asyncio.create_task(world.get_all(call(), [link(number) for number in range(1, MAX_TRANSFERS + 1)]))
        await until(lambda: world.downloader.now == MAX_TRANSFERS)
        waiting = asyncio.create_task(world.get(call(), link()))
        await asyncio.sleep(0.3)
        world.downloader.go.set()
        await full
        assert (await waiting).status == "ok"
        assert world.downloader.left[-1] == pytest.approx(world.downloader.seconds, abs=0.2)

    show(tmp_path, story)


def test_a_call_uses_no_more_workers_than_it_asked_for(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.get_all(call(), [link(number) for number in range(9)], workers=3)
        assert world.tikhub.most <= 3
        assert len(world.tikhub.asked) == 9

    show(tmp_path, story)


def test_the_same_post_twice_in_a_batch_is_one_call_and_one_file(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        same = parse_link(f"https://m.tiktok.com/v/{FIRST}.html")
        outcomes = await world.get_all(call(), [link(), same, link()])
        assert list(outcomes) == [link().key]
        assert len(world.tikhub.asked) == len(world.downloader.targets) == 1

    show(tmp_path, story)


def test_when_the_time_is_up_what_was_paid_for_goes_on_and_is_joined(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.downloader.go.clear()
        outcome = await world.get(call(seconds=0.2), link())
        assert (outcome.status, outcome.api_calls) == ("pending", 1)
        assert outcome.raw_path is not None
        assert not world.downloader.cancelled
        again = asyncio.create_task(world.get(call(), link()))
        await asyncio.sleep(0.01)
        world.downloader.go.set()
        outcome = await again
        assert (outcome.status, outcome.api_calls) == ("ok", 0)
        assert len(world.tikhub.asked) == len(world.downloader.targets) == 1

    show(tmp_path, story)


@pytest.mark.parametrize("finished_before", [True, False])
def test_a_refresh_that_was_pending_is_not_paid_again_when_asked_again(tmp_path: Path, finished_before: bool) -> None:
    async def story(world: World) -> None:
        await world.get(call(), link())
        world.downloader.go.clear()
        outcome = await world.get(call(seconds=0.2), link(), refresh=True)
        assert (outcome.status, outcome.api_calls) == ("pending", 1)
        world.downloader.go.set()
        if finished_before:
            await asyncio.sleep(0.05)
        outcome = await world.get(call(), link(), refresh=True)
        assert (outcome.status, outcome.api_calls) == ("ok", 0)
        outcome = await world.get(call(), link(), refresh=True)  # seen by now: this one is a new wish
        assert (outcome.status, outcome.api_calls) == ("ok", 1)

    show(tmp_path, story)


def test_links_that_had_no_turn_in_time_are_pending_and_cost_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.go.clear()
        outcomes = await world.get_all(call(seconds=0.2), [link(number) for number in range(15)])
        assert [outcome.status for outcome in outcomes.values()] == ["pending"] * 15
        assert len(world.tikhub.asked) == 10
        world.tikhub.go.set()
        await asyncio.sleep(0.1)
        assert len(world.tikhub.asked) == 10

    show(tmp_path, story)


def test_nothing_is_paid_for_while_nobody_waits(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        job = Job(link(), world.options, 0.0)
        world.jobs._jobs[job.link.key, world.options] = job
        await world.jobs._run((job.link.key, world.options), job)
        assert job.outcome.status == "pending"
        assert world.tikhub.asked == []

    show(tmp_path, story)


def test_a_cancelled_call_ends_its_download_within_a_second_and_keeps_the_paid_answer(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.downloader.go.clear()
        waiting = asyncio.create_task(world.get(call(), link()))
        await world.downloader.began.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: world.downloader.cancelled == 1)
        world.downloader.go.set()
        outcome = await world.get(call(), link())
        assert (outcome.status, outcome.api_calls, outcome.reused_answer) == ("ok", 0, True)

    show(tmp_path, story)


def test_a_cancelled_call_leaves_a_job_to_the_others_who_wait_for_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.downloader.go.clear()
        first, second = (asyncio.create_task(world.get(call(), link())) for _ in range(2))
        await world.downloader.began.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        world.downloader.go.set()
        assert (await second).status == "ok"
        assert not world.downloader.cancelled

    show(tmp_path, story)


def test_a_refused_key_skips_what_had_not_started_and_keeps_what_is_on_disk_free(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.get(call(), link(7))
        world.tikhub.asked.clear()
        world.tikhub.failures = {link(number).key: KeyInvalid("no") for number in range(20)}
        mine = call()
        outcomes = await world.get_all(mine, [link(number) for number in range(9)], workers=1)
        assert [outcome.status for outcome in outcomes.values()] == ["failed", *["skipped"] * 6, "ok", "skipped"]
        assert len(world.tikhub.asked) == 1
        assert [type(error) for error in mine.stops.values()] == [KeyInvalid]
        assert mine.api_calls == 0

    show(tmp_path, story)


@pytest.mark.parametrize(("platform", "asked"), [(None, ["douyin", "tiktok"]), ("douyin", ["douyin", *["tiktok"] * 4])])
def test_after_a_refusal_the_next_call_sends_one_request_first_for_each_platform_that_it_concerns(
    tmp_path: Path, platform: str | None, asked: list[str]
) -> None:
    async def story(world: World) -> None:
        refusal = PermissionDenied("no")
        refusal.platform = platform
        links = [each for number in range(4) for each in (link(number), douyin(number))]
        world.tikhub.failures = {douyin(99).key: refusal}
        await world.get(call(), douyin(99))
        world.tikhub.go.clear()
        world.tikhub.asked.clear()
        batch = asyncio.create_task(world.get_all(call(), links))
        for _ in range(200):
            await asyncio.sleep(0.001)
        assert sorted(key.partition(":")[0] for key in world.tikhub.asked) == asked
        world.tikhub.go.set()
        outcomes = await batch
        assert {outcome.status for outcome in outcomes.values()} == {"ok"}

    show(tmp_path, story)


def test_a_joined_job_that_was_refused_stops_the_joining_call_too(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.go.clear()
        world.tikhub.failures = {link().key: KeyInvalid("no")}
        second_call = call()
        first = asyncio.create_task(world.get(call(), link()))
        await world.tikhub.began.wait()
        second = asyncio.create_task(world.get(second_call, link()))
        await asyncio.sleep(0)
        world.tikhub.go.set()
        assert [outcome.status for outcome in await asyncio.gather(first, second)] == ["failed", "failed"]
        assert [type(error) for error in second_call.stops.values()] == [KeyInvalid]

    show(tmp_path, story)


def test_a_job_that_one_call_may_not_pay_for_is_paid_by_the_other_that_waits(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        poor, rich = call(cap=1), call()
        await world.get(poor, link(1))
        async with world.jobs._locks.here("answer", link().key):  # holds the job until both wait for it
            both = asyncio.gather(world.get(poor, link()), world.get(rich, link()))
            await until(lambda: len(world.seen) == 3)
        outcomes = await both
        assert [(outcome.status, outcome.api_calls) for outcome in outcomes] == [("ok", 0), ("ok", 1)]
        assert (poor.api_calls, rich.api_calls) == (1, 1)

    show(tmp_path, story)


def test_a_job_that_nobody_could_pay_for_is_started_again_for_a_call_that_can(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        poor, rich = call(cap=1), call()
        await world.get(poor, link(1))
        async with world.jobs._locks.here("answer", link().key):
            first = asyncio.create_task(world.get(poor, link()))
            await until(lambda: len(world.seen) == 2)
        second = asyncio.create_task(world.get(rich, link()))  # may find the first job in its last moment
        assert [outcome.status for outcome in await asyncio.gather(first, second)][1] == "ok"
        assert (poor.api_calls, rich.api_calls) == (1, 1)

    show(tmp_path, story)


def test_the_cap_holds_for_jobs_that_a_call_without_one_had_started_and_left(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        links = [link(number) for number in range(6)]
        locks = [world.jobs._locks.here("answer", each.key) for each in links]
        for lock in locks:
            await lock.acquire()
        free, capped = call(), call(cap=1)
        first = asyncio.create_task(world.get_all(free, links))
        await until(lambda: len(world.seen) == 6)
        second = asyncio.create_task(world.get_all(capped, links))
        await until(lambda: len(world.seen) == 12)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        for lock in locks:
            lock.release()
        statuses = [outcome.status for outcome in (await second).values()]
        assert (statuses.count("ok"), statuses.count("skipped")) == (1, 5)
        assert (len(world.tikhub.asked), free.api_calls, capped.api_calls) == (1, 0, 1)

    show(tmp_path, story)


def test_a_refund_after_a_call_has_gone_makes_no_other_calls_cost_negative(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.go.clear()
        world.tikhub.failures = {link().key: TikHubUnavailable("no", attempts=1)}
        first = await world.get(call(seconds=0.5), link())
        assert (first.status, first.api_calls) == ("pending", 1)  # as far as could be told then
        second = asyncio.create_task(world.get(call(), link()))
        await until(lambda: len(world.seen) == 2)
        world.tikhub.go.set()
        assert ((await second).status, (await second).api_calls) == ("failed", 0)

    show(tmp_path, story)


def test_joining_a_job_in_its_last_moment_starts_it_again_instead_of_waiting_for_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        may_end, fetch = asyncio.Event(), world.downloader.fetch

        async def slow_to_end(*of: Any, **more: Any) -> Saved:  # noqa: ANN401 - whatever it is given
            try:
                return await fetch(*of, **more)
            except asyncio.CancelledError:
                await may_end.wait()
                raise

        world.downloader.fetch = slow_to_end  # type: ignore[method-assign]
        world.downloader.go.clear()
        first = asyncio.create_task(world.get(call(), link()))
        await world.downloader.began.wait()
        first.cancel()
        second = asyncio.create_task(world.get(call(), link()))
        await until(lambda: len(world.seen) == 2)
        world.downloader.go.set()
        may_end.set()
        assert (await second).status == "ok"
        assert [job is world.seen[0] for job in world.seen] == [True, True, False]
        assert len(world.tikhub.asked) == 1

    show(tmp_path, story)


def test_a_refresh_that_was_pending_long_ago_is_a_new_wish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        world.downloader.go.clear()
        assert (await world.get(call(seconds=0.2), link(), refresh=True)).status == "pending"
        world.downloader.go.set()
        await until(lambda: not world.jobs._jobs)
        monkeypatch.setattr("tikhub_mcp.jobs.unfinished.REJOIN_SECONDS", 0.0)
        assert (await world.get(call(), link(), refresh=True)).api_calls == 1
        assert len(world.tikhub.asked) == 2

    show(tmp_path, story)


def test_a_refreshed_batch_asked_again_pays_neither_for_what_was_pending_nor_for_what_was_done(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        refresh = replace(world.options, refresh=True)
        links = [link(0), link(1)]
        lock = world.jobs._locks.here("answer", links[1].key)
        await lock.acquire()
        first = await world.jobs.get_all(call(seconds=0.5), links, refresh, 10, world.seen.append)
        assert [outcome.status for outcome in first.values()] == ["ok", "pending"]
        lock.release()
        again = call()
        second = await world.jobs.get_all(again, links, refresh, 10, world.seen.append)
        assert [outcome.status for outcome in second.values()] == ["ok", "ok"]
        assert (len(world.tikhub.asked), again.api_calls) == (2, 1)

    show(tmp_path, story)


def test_a_pending_call_without_reuse_is_not_paid_again_when_asked_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.downloader.go.clear()
        assert (await world.get(call(seconds=0.5), link())).status == "pending"
        world.downloader.go.set()
        await until(lambda: not world.jobs._jobs)
        assert (await world.get(call(), link())).api_calls == 0

    show(tmp_path, story, reuse_seconds=0.0)


def test_the_cap_on_paid_calls_is_hard_and_free_answers_do_not_count(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.get(call(), link(5))
        world.tikhub.asked.clear()
        outcomes = await world.get_all(call(cap=3), [link(number) for number in range(8)])
        statuses = [outcome.status for outcome in outcomes.values()]
        assert (statuses.count("ok"), statuses.count("skipped")) == (4, 4)
        assert outcomes[link(5).key].status == "ok"
        assert len(world.tikhub.asked) == 3

    show(tmp_path, story)


def test_a_cap_that_forbids_asking_again_never_denies_that_the_post_was_paid_for(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.lost = {link().key}
        outcome = await world.get(call(cap=1), link())
        assert (outcome.status, outcome.api_calls) == ("failed", 1)
        assert isinstance(outcome.error, ApiCallLimit)
        assert "was asked for" in outcome.error.message

    show(tmp_path, story)


def test_under_a_cap_links_that_have_expired_are_tried_as_they_are(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link().key] = video(-10)
        outcome = await world.get(call(cap=1), link())
        assert (outcome.status, outcome.api_calls) == ("ok", 1)
        assert len(world.downloader.targets) == 1

    show(tmp_path, story)


def test_a_failed_request_that_was_not_charged_does_not_count_against_the_cap(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.failures = {link(0).key: TikHubUnavailable("no", attempts=1)}
        mine = call(cap=1)
        outcomes = await world.get_all(mine, [link(0), link(1)], workers=1)
        assert [outcome.status for outcome in outcomes.values()] == ["failed", "ok"]
        assert mine.api_calls == 1

    show(tmp_path, story)


def test_an_answer_within_the_reuse_time_is_not_paid_for_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for expected in (1, 0):
            outcome = await world.get(call(), link(), metrics_only=True)
            assert outcome.api_calls == expected
        assert (await world.get(call(), link(), metrics_only=True, refresh=True)).api_calls == 1

    show(tmp_path, story)


def test_without_reuse_each_call_pays_again_but_a_duplicate_in_it_does_not(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for _ in range(2):
            mine = call()
            await world.get_all(mine, [link(), link()])
            await world.get(mine, link(), quality="best")
            assert mine.api_calls == 1

    show(tmp_path, story, reuse_seconds=0.0)


def test_metrics_only_takes_numbers_of_photo_posts_too_and_makes_no_video_folder(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link().key] = tiktok_post(aweme_id=str(FIRST), aweme_type=150)
        outcome = await world.get(call(), link(), metrics_only=True)
        assert outcome.status == "ok"
        assert outcome.post is not None
        assert outcome.post.kind == "images"
        assert not world.options.folder.exists()

    show(tmp_path, story)


def test_without_save_raw_nothing_of_the_answer_is_written_and_it_is_used_again_all_the_same(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for expected in (1, 0):
            outcome = await world.get(call(), link(), save_raw=False)
            assert (outcome.api_calls, outcome.raw_path) == (expected, None)
        assert not (tmp_path / "raw").exists()
        outcome = await world.get(call(), link())
        assert outcome.api_calls == 0
        assert outcome.raw_path is not None
        assert outcome.raw_path.is_file()

    show(tmp_path, story)


def test_another_post_than_the_link_names_is_kept_as_an_answer_and_not_saved_as_that_video(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link().key] = tiktok_post(aweme_id="7000000000000007777")
        outcome = await world.get(call(), link())
        assert outcome.error is not None
        assert outcome.error.code == "wrong_post"
        assert outcome.post is None
        assert outcome.raw_path is not None
        assert world.downloader.targets == []

    show(tmp_path, story)


def test_an_unavailable_post_asked_again_says_since_when_and_costs_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link().key] = tiktok_post(aweme_id=str(FIRST), status={"is_delete": True})
        first = await world.get(call(), link())
        again = await world.get(call(), link())
        assert first.error is not None
        assert again.error is not None
        assert "Set refresh" not in first.error.message
        assert "Set refresh to ask again" in again.error.message
        assert (first.api_calls, again.api_calls) == (1, 0)

    show(tmp_path, story)


def test_links_that_have_expired_are_renewed_by_one_more_paid_call_before_they_are_tried(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link().key] = video(-10)
        outcome = await world.get(call(), link())
        assert (outcome.status, outcome.api_calls) == ("ok", 2)
        assert len(world.downloader.targets) == 1

    show(tmp_path, story)


def test_fresh_links_that_all_refuse_are_not_renewed(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link().key] = video(3600)
        world.downloader.failures = [MediaUnavailable("refused")]
        outcome = await world.get(call(), link())
        assert outcome.error is not None
        assert (outcome.error.code, outcome.api_calls) == ("media_unavailable", 1)

    show(tmp_path, story)


@pytest.mark.parametrize("also_then", [True, False])
def test_old_links_that_all_refuse_are_renewed_once_and_never_twice(
    tmp_path: Path, also_then: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link().key] = video(3600)
        await world.get(call(), link(), metrics_only=True)
        world.downloader.failures = [MediaUnavailable("refused")] * (1 + also_then)
        monkeypatch.setattr("tikhub_mcp.jobs.source.LINK_LIFETIME_SECONDS", 0.0)
        outcome = await world.get(call(), link())
        assert outcome.status == ("failed" if also_then else "ok")
        assert outcome.api_calls == 1
        assert len(world.downloader.targets) == 2

    show(tmp_path, story)


@pytest.mark.slow
def test_a_bug_in_one_item_is_logged_and_hurts_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link(1).key] = {"aweme_id": link(1).post_id}
        world.tikhub.failures = {link(0).key: ZeroDivisionError("boom")}  # type: ignore[dict-item]
        outcomes = await world.get_all(call(), [link(0), link(2)])
        error = outcomes[link(0).key].error
        assert error is not None
        assert error.code == "internal_error"
        assert "boom" not in error.message
        assert outcomes[link(2).key].status == "ok"

    show(tmp_path, story)
    assert "ZeroDivisionError: boom" in caplog.text


def test_a_folder_that_cannot_be_made_is_known_before_anything_is_paid(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        (tmp_path / "videos").write_text("a file")
        outcome = await world.get(call(), link())
        assert outcome.error is not None
        assert outcome.error.code == "not_writable"
        assert world.tikhub.asked == []

    show(tmp_path, story)


@pytest.mark.parametrize("raw", ["new/raw", ".", None])
def test_the_lock_that_other_processes_see_exists_before_the_first_request_whatever_folders_do(
    tmp_path: Path, raw: str | None
) -> None:
    async def story(world: World) -> None:
        world.jobs._archive.folder = tmp_path / (raw or "unused")
        world.tikhub.go.clear()
        asking = asyncio.create_task(world.get(call(), link(), save_raw=raw is not None))
        await world.tikhub.began.wait()
        assert (tmp_path / "new" / LOCK_NAME).exists()
        world.tikhub.go.set()
        await asking

    show(tmp_path / "new", story)


@pytest.mark.slow
def test_closing_ends_all_jobs_and_starts_no_more(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.downloader.go.clear()
        waiting = asyncio.create_task(world.get_all(call(), [link(number) for number in range(30)]))
        await until(lambda: world.downloader.now == MAX_TRANSFERS)
        await world.jobs.close()
        assert world.downloader.cancelled == MAX_TRANSFERS
        assert {outcome.status for outcome in (await waiting).values()} == {"pending"}
        assert len(world.tikhub.asked) == MAX_TRANSFERS

    show(tmp_path, story)


def test_closing_names_the_posts_whose_paid_answers_are_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        world.tikhub.unanswered = {link(2), link(1)}

    show(tmp_path, story)
    assert caplog.messages == [
        "Ended before TikHub's answer was stored, which may be charged, for "
        f"post {link(1).post_id}, post {link(2).post_id}"
    ]


def test_a_plan_counts_without_paying(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.get(call(), link(0), metrics_only=True)
        world.tikhub.posts[link(1).key] = video(-5) | {"aweme_id": link(1).post_id}
        await world.get(call(), link(1), metrics_only=True)
        world.options.folder.mkdir()
        (world.options.folder / f"tiktok_someone_{FIRST + 2}.mp4").touch()
        asked = len(world.tikhub.asked)
        plans = await world.jobs.plan(call(), [link(number) for number in range(4)], world.options)
        assert plans == [(False, False), (False, True), (True, True), (False, True)]
        assert await world.jobs.plan(call(), [link(0)], replace(world.options, refresh=True)) == [(False, True)]
        assert len(world.tikhub.asked) == asked

    show(tmp_path, story)


def test_a_plan_that_takes_longer_than_its_call_goes_on_and_the_same_call_gets_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        begun: list[int] = []
        plan = world.jobs._worker.plan

        async def counted(links: Sequence[Link], options: Options) -> Plan:
            begun.append(1)
            return await plan(links, options)

        world.jobs._worker.plan = counted  # type: ignore[method-assign]
        async with world.jobs._worker._lookup._archive_turn:  # as if another job read a large folder
            assert await world.jobs.plan(call(seconds=0.01), [link()], world.options) is None
            assert await world.jobs.plan(call(seconds=0), [link()], world.options) is None
            cancelled = asyncio.create_task(world.jobs.plan(call(), [link(1)], world.options))
            joined = asyncio.create_task(world.jobs.plan(call(), [link(1)], world.options))
            await asyncio.sleep(0)
            cancelled.cancel()
        assert await world.jobs.plan(call(), [link()], world.options) == [(False, True)]
        assert await joined == [(False, True)]  # begun again, since the one that had begun it was cancelled
        assert len(begun) == 3
        assert await world.jobs.plan(call(), [link()], world.options) == [(False, True)]
        assert len(begun) == 4  # what was given once is not given again
        async with world.jobs._worker._lookup._archive_turn:
            waiting = asyncio.create_task(world.jobs.plan(call(), [link(2)], world.options))
            await asyncio.sleep(0)
            await world.jobs.close()
            assert await waiting is None

    show(tmp_path, story)


def test_a_plan_that_nobody_asks_for_again_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        monkeypatch.setattr("tikhub_mcp.jobs.scheduler.UNSEEN_PLAN_SECONDS", 0.0)
        assert await world.jobs.plan(call(seconds=0), [link()], world.options) is None
        (plan,) = world.jobs._plans.values()
        await plan
        await asyncio.wait_for(until(lambda: not world.jobs._plans), 5)

    show(tmp_path, story)


@pytest.mark.slow
def test_two_calls_that_wait_for_a_slot_for_one_post_share_its_job_and_leave_no_slot_behind(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.downloader.go.clear()
        full = asyncio.create_task(world.get_all(call(), [link(number) for number in range(1, MAX_TRANSFERS + 1)]))
        await until(lambda: world.downloader.now == MAX_TRANSFERS)
        both = [asyncio.create_task(world.get(call(), link())) for _ in range(2)]
        await asyncio.sleep(0.05)  # both wait for room by now
        world.downloader.go.set()
        await full
        assert {(await each).status for each in both} == {"ok"}
        assert world.tikhub.asked.count(link().key) == 1
        assert len([job for job in world.seen if job.link == link()]) == 2  # of which both are the same
        assert len({id(job) for job in world.seen if job.link == link()}) == 1
        world.downloader.go.clear()
        world.downloader.targets.clear()
        again = asyncio.create_task(world.get_all(call(), [link(number) for number in range(20, 20 + MAX_TRANSFERS)]))
        await until(lambda: world.downloader.now == MAX_TRANSFERS)  # all ten are free again
        world.downloader.go.set()
        await again

    show(tmp_path, story)


def test_after_a_refusal_nobody_else_pays_until_one_request_was_answered(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.failures = {link(0).key: KeyInvalid("no")}
        await world.get(call(), link(0))
        world.tikhub.failures = {}
        world.tikhub.go.clear()
        world.tikhub.asked.clear()
        waiting = asyncio.create_task(world.get_all(call(), [link(number) for number in range(1, 6)]))
        await until(lambda: bool(world.tikhub.asked))
        await asyncio.sleep(0.05)
        assert len(world.tikhub.asked) == 1
        world.tikhub.go.set()
        assert {outcome.status for outcome in (await waiting).values()} == {"ok"}
        world.tikhub.go.clear()
        world.tikhub.asked.clear()
        waiting = asyncio.create_task(world.get_all(call(), [link(number) for number in range(6, 11)]))
        await until(lambda: len(world.tikhub.asked) == 5)  # all at once again
        world.tikhub.go.set()
        await waiting

    show(tmp_path, story)


def test_an_answer_that_was_under_way_when_a_refusal_came_is_no_word_of_the_key(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.go.clear()
        early = asyncio.create_task(world.get(call(), link(1)))
        await until(lambda: bool(world.tikhub.asked))
        world.tikhub.failures = {link(0).key: KeyInvalid("no")}
        refused = asyncio.create_task(world.get(call(), link(0)))
        await until(lambda: len(world.tikhub.asked) == 2)
        world.tikhub.go.set()
        await refused
        assert (await early).status == "ok"
        world.tikhub.go.clear()
        world.tikhub.asked.clear()
        waiting = asyncio.create_task(world.get_all(call(), [link(number) for number in range(2, 5)]))
        await until(lambda: bool(world.tikhub.asked))
        await asyncio.sleep(0.05)
        assert len(world.tikhub.asked) == 1
        world.tikhub.go.set()
        await waiting

    show(tmp_path, story)


def test_a_plan_counts_a_renewal_only_where_a_file_is_wanted_that_is_not_there(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link().key] = video(-5)
        await world.get(call(), link(), metrics_only=True)
        assert await world.jobs.plan(call(), [link()], world.options) == [(False, True)]
        assert await world.jobs.plan(call(), [link()], replace(world.options, metrics_only=True)) == [(False, False)]
        world.options.folder.mkdir()
        (world.options.folder / f"tiktok_someone_{FIRST}.mp4").touch()
        assert await world.jobs.plan(call(), [link()], world.options) == [(True, False)]

    show(tmp_path, story)


def test_a_job_that_is_over_is_done_as_far_as_progress_goes_whatever_it_came_to(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.downloader.failures = [MediaUnavailable("no")]
        await world.get(call(), link(0))
        await world.get(call(), link(1))
        assert [job.done for job in world.seen] == [1.0, 1.0]

    show(tmp_path, story)


def test_a_file_that_was_fetched_is_found_without_listing_its_folder_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        added: list[tuple[Post, Saved]] = []
        world.jobs._worker._videos.add = lambda *of: added.append(of)  # type: ignore[method-assign]
        outcome = await world.get(call(), link())
        assert outcome.saved is not None
        assert [(post.video_id, saved.path) for post, saved in added] == [(link().post_id, outcome.saved.path)]

    show(tmp_path, story)


def test_jobs_keep_to_the_address_the_folders_and_the_limits_of_their_settings(server: Faulty, tmp_path: Path) -> None:
    films = {
        0: (SIZE, Act(body=VIDEO)),
        1: (SIZE + 1, Act(body=VIDEO)),  # larger than the limit
        2: (SIZE, Act(body=VIDEO, cut=100, end="stall")),
    }
    for number, (size, act) in films.items():
        video = {"play_addr": {"url_list": [server.on(f"/{number}", act)], "data_size": size}}
        answer = json.dumps(envelope(tiktok_post(aweme_id=str(FIRST + number), video=video))).encode()
        asked = httpx.URL(PATH.format(platform="tiktok"), params={"share_url": link(number).url})
        server.on(asked.raw_path.decode(), Act(body=answer))
    settings = Settings(
        server.base_url, tmp_path / "root", reuse_seconds=0.0, download_seconds=patience(0.5), max_bytes=SIZE
    )

    async def get(raw: Path | None, number: int) -> Outcome:
        jobs = Jobs.of(settings, raw)
        outcome = await jobs.get(call(), link(number), Options(settings.videos), lambda _: None)
        await jobs.close()
        assert outcome.api_calls == 1  # nothing is reused
        return outcome

    async def story() -> None:
        other = tmp_path / "other"
        other.mkdir()
        for raw, index in ((other, other), (None, settings.root), (settings.raw, settings.root)):
            outcome = await get(raw, 0)
            assert outcome.status == "ok"
            assert outcome.raw_path is not None
            assert outcome.raw_path.parent == (raw or settings.raw)
            assert (settings.root / LOCK_NAME).exists()
            assert (index / INDEX_NAME).exists()
        assert not (settings.raw / INDEX_NAME).exists()
        large, slow = await get(None, 1), await get(None, 2)
        assert large.error is not None
        assert large.error.code == "too_large"
        assert slow.error is not None
        assert f"did not arrive within {settings.download_seconds:g} s" in slow.error.message

    asyncio.run(story())
