"""Links that have expired: at most one new answer is paid for within the time of reuse, and the error says so."""

from pathlib import Path

import pytest

from tests.support.fake_tikhub import FIRST, World, call, link, show, video
from tests.support.payloads import photo_post, tiktok_post
from tests.support.raw_answers import change_index
from tikhub_mcp.errors import MediaUnavailable
from tikhub_mcp.jobs.model import Outcome
from tikhub_mcp.posts.links import parse_link


def dead(world: World, refused: int = 20) -> None:
    """Every answer comes with links that have expired, and the CDN refuses them."""
    world.tikhub.posts[link().key] = video(-10)
    world.downloader.failures = [MediaUnavailable("the CDN answered HTTP 403") for _ in range(refused)]


def assert_final(outcome: Outcome, api_calls: int, within: float = 3600.0) -> None:
    """An error that costs nothing more, and says for how long."""
    assert outcome.error is not None
    assert (outcome.status, outcome.error.code, outcome.api_calls) == ("failed", "media_unavailable", api_calls)
    assert not outcome.error.retryable
    assert outcome.error.retry_after is not None
    assert within - 20 < outcome.error.retry_after <= within
    assert f"in {outcome.error.retry_after:g} s at the earliest" in outcome.error.message


def test_a_post_whose_links_are_dead_on_arrival_costs_two_calls_and_then_none(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        dead(world)
        assert_final(await world.get(call(), link()), api_calls=2)
        for _ in range(4):
            assert_final(await world.get(call(), link()), api_calls=0)
        [(_, needed)] = await world.jobs.plan(call(), [link()], world.options) or []
        assert not needed
        assert (await world.get(call(), link(), metrics_only=True)).status == "ok"
        assert len(world.tikhub.asked) == 2

    show(tmp_path, story)


@pytest.mark.parametrize("save_raw", [True, False])
def test_a_new_process_does_not_renew_again_either(tmp_path: Path, save_raw: bool) -> None:
    async def first(world: World) -> None:
        dead(world)
        assert_final(await world.get(call(), link(), save_raw=save_raw), api_calls=2)

    async def second(world: World) -> None:
        dead(world)
        assert_final(await world.get(call(), link(), save_raw=save_raw), api_calls=0 if save_raw else 1)

    show(tmp_path, first)
    show(tmp_path, second)


def test_when_the_time_of_reuse_is_over_the_post_is_asked_for_and_renewed_once_more(tmp_path: Path) -> None:
    async def first(world: World) -> None:
        dead(world)
        await world.get(call(), link())

    async def second(world: World) -> None:
        dead(world)
        assert_final(await world.get(call(), link()), api_calls=2)

    show(tmp_path, first)
    change_index(tmp_path, "UPDATE moments SET at = at - 3601 WHERE kind = 'renewal'")
    change_index(tmp_path, "UPDATE answers SET received = received - 3601")
    show(tmp_path, second)


def test_a_refresh_pays_for_the_new_answer_that_was_asked_for_and_for_no_renewal(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        dead(world)
        await world.get(call(), link())
        assert_final(await world.get(call(), link(), refresh=True), api_calls=1)

    show(tmp_path, story)


def test_a_renewal_that_the_cap_forbids_is_none_and_the_next_call_may_make_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        dead(world, refused=1)
        capped = await world.get(call(cap=1), link())
        assert capped.error is not None
        assert capped.error.retryable
        assert (await world.get(call(), link())).api_calls == 1

    show(tmp_path, story)


def test_a_renewal_that_brings_the_file_is_no_failure_and_young_links_stay_worth_another_try(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        dead(world, refused=0)
        assert (await world.get(call(), link())).status == "ok"
        world.tikhub.posts[link(1).key] = video(3600) | {"aweme_id": link(1).post_id}
        world.downloader.failures = [MediaUnavailable("the CDN answered HTTP 403")]
        outcome = await world.get(call(), link(1))
        assert outcome.error is not None
        assert outcome.error.retryable
        assert outcome.api_calls == 1

    show(tmp_path, story)


def test_links_that_grew_old_are_renewed_once_in_the_time_of_reuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link().key] = video(36_000)
        await world.get(call(), link(), metrics_only=True)
        world.downloader.failures = [MediaUnavailable("the CDN answered HTTP 403") for _ in range(9)]
        monkeypatch.setattr("tikhub_mcp.jobs.source.LINK_LIFETIME_SECONDS", 0.0)
        assert_final(await world.get(call(), link()), api_calls=1)
        assert_final(await world.get(call(), link()), api_calls=0)

    show(tmp_path, story)


@pytest.mark.slow
def test_in_a_piece_of_work_a_renewal_is_paid_for_once_however_short_the_time_of_reuse(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        dead(world)
        held = link(1)
        lock = world.jobs._locks.here("answer", held.key)
        await lock.acquire()
        for paid in (2, 0, 0):
            waiting = call(seconds=0.4)
            outcomes = await world.get_all(waiting, [link(), held])
            assert (outcomes[link().key].status, outcomes[held.key].status) == ("failed", "pending")
            assert waiting.api_calls == paid
        lock.release()

    show(tmp_path, story, reuse_seconds=0.0)


def test_a_newer_answer_that_another_link_brought_is_used_instead_of_a_renewal(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        short = parse_link("https://vm.tiktok.com/ZMabc12/")
        world.tikhub.posts[short.key] = world.tikhub.posts[link().key] = video(-10)
        await world.get(call(), short, metrics_only=True)
        world.tikhub.posts[link().key] = video(36_000)
        await world.get(call(), link(), refresh=True)
        asked = len(world.tikhub.asked)
        outcome = await world.get(call(), short, quality="best")
        assert (outcome.status, outcome.api_calls) == ("ok", 0)
        assert len(world.tikhub.asked) == asked

    show(tmp_path, story)


def test_what_stands_beside_a_video_comes_from_the_newer_answer_too(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        short = parse_link("https://vm.tiktok.com/ZMabc12/")

        def answer(expires: int, music: str) -> None:
            post = video(expires) | {"music": {"play_url": {"url_list": [f"https://cdn.example/{music}.mp3"]}}}
            world.tikhub.posts[short.key] = world.tikhub.posts[link().key] = post

        answer(-10, "old")
        await world.get(call(), short, metrics_only=True)
        answer(36_000, "new")
        newer = await world.get(call(), link(), metrics_only=True, refresh=True)
        outcome = await world.get(call(), short, include=("music",))
        assert (outcome.status, outcome.api_calls, outcome.raw_path) == ("ok", 0, newer.raw_path)
        assert world.downloader.urls[-1] == "https://cdn.example/new.mp3"

    show(tmp_path, story)


@pytest.mark.parametrize("was_video", [True, False])
def test_a_post_that_has_changed_its_kind_is_taken_as_it_is_by_the_next_call(tmp_path: Path, was_video: bool) -> None:
    async def story(world: World) -> None:
        expired = "https://img.example/1.jpeg?x-expires=1500000000"
        images = {"images": [{"display_image": {"url_list": [expired]}}]}
        kinds = [video(-10), photo_post(aweme_id=str(FIRST), image_post_info=images)]
        before, now = kinds if was_video else reversed(kinds)
        world.tikhub.posts[link().key] = before
        await world.get(call(), link(), metrics_only=True)
        world.tikhub.posts[link().key] = now
        outcome = await world.get(call(), link())
        assert outcome.error is not None
        assert (outcome.error.code, outcome.error.retryable, outcome.api_calls) == ("media_unavailable", True, 1)
        assert world.downloader.targets == []
        world.tikhub.posts.clear()
        outcome = await world.get(call(), link(), metrics_only=True)
        assert outcome.post is not None
        assert (outcome.post.kind, outcome.api_calls) == ("images" if was_video else "video", 0)

    show(tmp_path, story)


def test_of_several_posts_in_the_newer_answer_the_same_one_is_taken(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        short = parse_link("https://vm.tiktok.com/ZMmadeup1/")
        world.tikhub.posts[short.key] = video(-10)
        await world.get(call(), short, metrics_only=True)
        world.tikhub.others = [tiktok_post(aweme_id=str(FIRST + 1))]
        world.tikhub.posts[link().key] = video(3600)
        await world.get(call(), link(), metrics_only=True, refresh=True)
        outcome = await world.get(call(), short)
        assert outcome.saved is not None
        assert (str(FIRST) in outcome.saved.path.name, outcome.api_calls) == (True, 0)

    show(tmp_path, story)
