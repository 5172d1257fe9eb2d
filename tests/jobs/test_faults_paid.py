"""Mirrors that refuse, and what it costs: the API is asked once for a film, twice when its links had expired."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from pydantic import SecretStr

from tests.support.downloads import ENCRYPTED, PAGE, VIDEO
from tests.support.fake_tikhub import FIRST, FakeTikHub, call, link
from tests.support.fault_server import Act, Faulty, Move, Request
from tests.support.mcp_session import patience
from tests.support.media_faults import BROKEN_OFF, FILM, GOOD, KNOWN, LIMITS, OTHER, PART, SIZE, crossed
from tests.support.payloads import ANSWERED, envelope, tiktok_post
from tikhub_mcp.api.client import PATH, Budget
from tikhub_mcp.jobs.model import Call, Options, Outcome
from tikhub_mcp.jobs.scheduler import Jobs
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.transfer import Limits
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.answer import Answer
from tikhub_mcp.posts.links import Link
from tikhub_mcp.settings.environment import Settings
from tikhub_mcp.storage.archive import Archive
from tikhub_mcp.storage.locks import Locks

pytestmark = pytest.mark.usefixtures("small_pieces")

T = TypeVar("T")
LIVE, EXPIRED = 36_000, -10  # seconds after the answer at which its links end


class Renewing(FakeTikHub):
    """Answers with fresh links each time it is paid; the last ones again and again."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        super().__init__()
        self.answers = list(answers)

    async def look_up(self, link: Link, key: SecretStr, budget: Budget, store: Callable[[Answer], Awaitable[T]]) -> T:
        self.posts[link.key] = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await super().look_up(link, key, budget, store)


class World:
    """Jobs with a TikHub that only answers, and everything else real."""

    def __init__(self, folder: Path, limits: Limits, answers: tuple[dict[str, Any], ...]) -> None:
        self.tikhub, self.folder = Renewing(*answers), folder / "videos"
        downloader = Downloader(Network(loopback_media=True), limits)
        self.jobs = Jobs(self.tikhub, Archive(folder / "raw", 3600.0), downloader, Locks(folder / ".lock"), 3600.0)

    async def get(self, waiting: Call | None = None, **options: Any) -> Outcome:  # noqa: ANN401 - of any option
        return await self.jobs.get(waiting or call(), link(), Options(self.folder, **options), lambda _: None)

    def names(self) -> list[str]:
        return [entry.name for entry in self.folder.iterdir()]


@pytest.fixture
def show(tmp_path: Path) -> Callable[..., None]:
    """Tell a story in a world with these answers of TikHub."""

    def run(
        story: Callable[[World], Coroutine[Any, Any, None]], *answers: dict[str, Any], limits: Limits = LIMITS
    ) -> None:
        async def told() -> None:
            async with asyncio.timeout(20):
                world = World(tmp_path, limits, answers)
                await story(world)
                await world.jobs.close()

        asyncio.run(told())

    return run


def answer(
    server: Faulty, name: str, known: str, *mirrors: tuple[Move, ...], ends: int = LIVE, field: bool = False
) -> dict[str, Any]:
    """A post whose film is on these mirrors; when its links end stands in their path, or in a field."""
    size, file_hash = KNOWN[known]
    proof = name if field else f"{'0' * 32}/{ANSWERED + ends:08x}"
    urls = [server.on(f"/{proof}/{name}{number}", *moves) for number, moves in enumerate(mirrors, 1)]
    address = {"url_list": urls, "data_size": size, "file_hash": file_hash, "width": 576, "height": 1024}
    video = {"duration": 1000, "play_addr": address, "cdn_url_expired": ANSWERED + ends if field else 0}
    return tiktok_post(aweme_id=str(FIRST)) | {"video": video}


def asked(server: Faulty) -> list[str]:
    return [path.rpartition("/")[2] for path in server.asked()]


def assert_film(world: World, outcome: Outcome, api_calls: int) -> None:
    """The film is there, nothing else is, and no more was paid."""
    assert (outcome.error, outcome.status, outcome.api_calls) == (None, "ok", api_calls)
    assert outcome.saved is not None
    assert outcome.saved.path.read_bytes() == FILM
    assert world.names() == [outcome.saved.path.name]


def assert_gone(world: World, outcome: Outcome, api_calls: int) -> None:
    """A clean error, no file, and the answers that were paid for are on disk; after a renewal no retry is advised."""
    assert outcome.error is not None
    assert (outcome.error.code, outcome.api_calls) == ("media_unavailable", api_calls)
    assert outcome.error.retryable == (len(world.tikhub.asked) == 1)
    assert world.names() == []
    assert outcome.raw_path is not None
    assert json.loads(outcome.raw_path.read_text("utf-8"))["data"]["aweme_details"][0]["aweme_id"] == str(FIRST)
    assert len(list(outcome.raw_path.parent.glob("raw_*.json"))) == len(world.tikhub.asked)


def refusal(status: int = 403) -> Act:
    return Act(status=status, body=b"denied")


@pytest.mark.parametrize("known", KNOWN)
def test_one_mirror_refuses_one_resets_one_serves_and_the_film_costs_one_call(
    server: Faulty, show: Callable[..., None], known: str
) -> None:
    async def story(world: World) -> None:
        assert_film(world, await world.get(), 1)

    reset = Act(body=FILM, cut=PART, end="reset")
    show(story, answer(server, "a", known, (refusal(),), (reset,), (GOOD,)))
    assert asked(server) == ["a1", "a2", "a2", "a3"]  # what broke off is asked once more before it is left


@crossed
@pytest.mark.parametrize("status", [403, 404, 410])
def test_fresh_links_that_all_refuse_get_one_more_round_and_nothing_more_is_paid(
    server: Faulty, show: Callable[..., None], status: int, known: str, mirrors: int
) -> None:
    async def story(world: World) -> None:
        started = time.monotonic()
        assert_gone(world, await world.get(), 1)
        assert time.monotonic() - started >= LIMITS.longest_pause

    show(story, answer(server, "a", known, *[(refusal(status),)] * mirrors), limits=replace(LIMITS, pause=1.0))
    assert asked(server) == [f"a{number}" for number in range(1, mirrors + 1)] * 2


def test_the_second_round_comes_a_second_after_the_first() -> None:
    assert Limits().pause == 1.0


class Clock:
    """The time as scheduler.py sees it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()  # the file's own time, which has not passed


@crossed
@pytest.mark.parametrize("also_then", [False, True])
@pytest.mark.parametrize(("ends", "later"), [(60, 61), (36_000, 1801)], ids=["expired", "half an hour old"])
def test_links_that_grow_old_while_they_all_refuse_are_renewed_once_and_never_twice(
    server: Faulty,
    show: Callable[..., None],
    ends: int,
    later: float,
    also_then: bool,
    known: str,
    mirrors: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    for module in ("jobs.worker", "jobs.source", "jobs.renewal", "storage.moments"):
        monkeypatch.setattr(f"tikhub_mcp.{module}.time", clock)

    def late(request: Request) -> Act:
        clock.ahead = later
        return refusal()

    async def story(world: World) -> None:
        (assert_gone if also_then else assert_film)(world, await world.get(), 2)

    first = answer(server, "a", known, *[(late,)] * mirrors, ends=ends)
    second = answer(server, "b", known, *[(refusal() if also_then else GOOD,)] * mirrors, ends=ends)
    show(story, first, second)
    tried, renewed = asked(server)[: 2 * mirrors], asked(server)[2 * mirrors :]
    assert tried == [f"a{number}" for number in range(1, mirrors + 1)] * 2
    assert renewed == ([f"b{number}" for number in range(1, mirrors + 1)] * 2 if also_then else ["b1"])


@crossed
@pytest.mark.parametrize("field", [False, True], ids=["by their path", "by cdn_url_expired"])
def test_links_that_have_expired_before_the_start_are_renewed_without_being_tried(
    server: Faulty, show: Callable[..., None], field: bool, known: str, mirrors: int
) -> None:
    async def story(world: World) -> None:
        assert_film(world, await world.get(), 2)

    first = answer(server, "a", known, *[(GOOD,)] * mirrors, ends=EXPIRED, field=field)
    second = answer(server, "b", known, *[(GOOD,)] * mirrors, field=field)
    show(story, first, second)
    assert asked(server) == ["b1"]


@crossed
def test_links_that_come_expired_twice_are_tried_and_not_paid_for_again(
    server: Faulty, show: Callable[..., None], known: str, mirrors: int
) -> None:
    async def story(world: World) -> None:
        assert_gone(world, await world.get(), 2)

    show(story, answer(server, "a", known, *[(refusal(),)] * mirrors, ends=EXPIRED))
    assert len(asked(server)) == 2 * mirrors


PAGES = {
    "a page": Act(headers=[("Content-Type", "text/html")], body=PAGE),
    "a page that says to be a film": Act(body=PAGE),
}


@crossed
@pytest.mark.parametrize("also_then", [False, True])
@pytest.mark.parametrize("page", PAGES)
def test_old_links_that_a_page_answers_for_are_renewed_once_and_never_twice(
    server: Faulty,
    show: Callable[..., None],
    page: str,
    also_then: bool,
    known: str,
    mirrors: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tikhub_mcp.jobs.source.LINK_LIFETIME_SECONDS", 0.0)

    async def story(world: World) -> None:
        outcome = await world.get()
        if not also_then:
            assert_film(world, outcome, 2)
            return
        assert outcome.error is not None
        assert (outcome.error.code, outcome.api_calls, world.names()) == ("media_invalid", 2, [])

    first = answer(server, "a", known, *[(PAGES[page],)] * mirrors)
    second = answer(server, "b", known, *[(PAGES[page] if also_then else GOOD,)] * mirrors)
    show(story, first, second)
    assert asked(server)[2 * mirrors :] == (
        [f"b{number}" for number in range(1, mirrors + 1)] * 2 if also_then else ["b1"]
    )


@crossed
@pytest.mark.parametrize("page", PAGES)
def test_young_links_that_a_page_answers_for_are_not_renewed(
    server: Faulty, show: Callable[..., None], page: str, known: str, mirrors: int
) -> None:
    async def story(world: World) -> None:
        outcome = await world.get()
        assert outcome.error is not None
        assert (outcome.error.code, outcome.api_calls, world.names()) == ("media_invalid", 1, [])

    show(story, answer(server, "a", known, *[(PAGES[page],)] * mirrors))
    assert len(asked(server)) == 2 * mirrors


# The time of a file

A_SECOND = replace(LIMITS, seconds=1.0)
TIMELESS: dict[str, Move] = {
    "too slow": Act(body=FILM, drip=SIZE // 100),  # five seconds in all, and never under the least speed
    "silent": Act(body=FILM, cut=PART, end="stall"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mirrors", [1, 3])
@pytest.mark.parametrize("name", TIMELESS)
def test_a_file_that_runs_out_of_its_time_is_not_paid_for_again_however_old_its_links(
    server: Faulty, show: Callable[..., None], name: str, mirrors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tikhub_mcp.jobs.source.LINK_LIFETIME_SECONDS", 0.0)

    async def story(world: World) -> None:
        outcome = await world.get()
        assert_gone(world, outcome, 1)
        assert outcome.error is not None
        assert "did not arrive within 1 s" in outcome.error.message

    show(story, answer(server, "a", "data_size", *[(TIMELESS[name],)] * mirrors), limits=A_SECOND)
    assert asked(server) == ["a1"]


@pytest.mark.slow
def test_links_that_are_renewed_in_the_middle_give_a_file_no_second_time(
    server: Faulty, show: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tikhub_mcp.jobs.source.LINK_LIFETIME_SECONDS", 0.0)
    hesitant = replace(refusal(), wait=0.6)  # 1.2 s in two rounds
    slow = Act(body=FILM, drip=SIZE // 28)  # 1.4 s: more than is left, and less than two seconds of its own

    async def story(world: World) -> None:
        outcome = await world.get()
        assert_gone(world, outcome, 2)
        assert outcome.error is not None
        assert "did not arrive within 2 s" in outcome.error.message

    first = answer(server, "a", "data_size", (hesitant,))
    show(story, first, answer(server, "b", "data_size", (slow,)), limits=replace(A_SECOND, seconds=2.0))
    assert asked(server) == ["a1", "a1", "b1"]


@crossed
def test_a_refusal_in_the_middle_means_the_next_address_from_its_beginning(
    server: Faulty, show: Callable[..., None], known: str, mirrors: int
) -> None:
    async def story(world: World) -> None:
        assert_film(world, await world.get(), 1)

    first = BROKEN_OFF, refusal(), GOOD
    show(story, answer(server, "a", known, first, *[(GOOD,)] * (mirrors - 1)))
    assert asked(server) == ["a1", "a1", "a1" if mirrors == 1 else "a2"]
    assert ["range" in request.headers for request in server.requests] == [False, True, False]


# Other renditions

OLD = "tikhub_mcp.jobs.source.LINK_LIFETIME_SECONDS"
ANOTHER = Act(body=VIDEO)
NOT_FIRST = "this is not the first choice (h264, 576x1024): "


def offering(server: Faulty, post: dict[str, Any], name: str, *moves: Move) -> dict[str, Any]:
    """The post with one more, smaller rendition on one mirror, whose file is VIDEO."""
    urls = [server.on(f"/{name}", *moves)]
    address = {"url_list": urls, "data_size": len(VIDEO), "width": 144, "height": 256}
    gears = [*post["video"].get("bit_rate", []), {"play_addr": address, "bit_rate": 9}]
    return post | {"video": post["video"] | {"bit_rate": gears}}


def assert_another(world: World, outcome: Outcome, api_calls: int, why: str, *, reused: bool = False) -> None:
    """The smaller rendition is there, with a warning that says so and why."""
    assert (outcome.error, outcome.status, outcome.api_calls) == (None, "ok", api_calls)
    assert outcome.saved is not None
    assert outcome.saved.path.read_bytes() == VIDEO
    assert world.names() == [outcome.saved.path.name]
    assert outcome.saved.warnings == (f"{NOT_FIRST}{why}",)
    assert outcome.saved.reused == reused


HTTP_403 = "the CDN answered HTTP 403"
SAVED_BEFORE = "another one was saved before; each refresh tries the first choice again"


def test_another_rendition_costs_nothing_and_is_used_again_with_its_warning_until_a_refresh_brings_the_first_choice(
    server: Faulty, show: Callable[..., None]
) -> None:
    async def story(world: World) -> None:
        assert_another(world, await world.get(), 1, HTTP_403)
        assert asked(server) == ["a1", "b"]
        assert_another(world, await world.get(), 0, SAVED_BEFORE, reused=True)
        assert asked(server) == ["a1", "b"]
        assert_another(world, await world.get(refresh=True), 1, SAVED_BEFORE, reused=True)
        assert asked(server)[2:] == ["a1", "a1"]
        assert_film(world, await world.get(refresh=True), 1)

    show(story, offering(server, answer(server, "a", "data_size", (*[refusal()] * 3, GOOD)), "b", ANOTHER))


@pytest.mark.slow
def test_in_a_piece_of_work_a_refresh_tries_the_first_choice_once(server: Faulty, show: Callable[..., None]) -> None:
    async def story(world: World) -> None:
        held = link(1)
        lock = world.jobs._locks.here("answer", held.key)
        await lock.acquire()
        for paid, why in ((1, HTTP_403), (0, SAVED_BEFORE)):
            waiting = call(seconds=0.5)
            options = Options(world.folder, refresh=True)
            outcomes = await world.jobs.get_all(waiting, [link(), held], options, 10, lambda _: None)
            assert outcomes[held.key].status == "pending"
            assert_another(world, outcomes[link().key], paid, why, reused=not paid)
        lock.release()
        assert asked(server)[:2] == ["a1", "b"]
        assert asked(server).count("a1") == 1

    show(story, offering(server, answer(server, "a", "data_size", (refusal(),)), "b", ANOTHER))


def test_old_links_of_which_one_serves_are_not_renewed(
    server: Faulty, show: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OLD, 0.0)

    async def story(world: World) -> None:
        assert_another(world, await world.get(), 1, HTTP_403)

    show(story, offering(server, answer(server, "a", "data_size", (refusal(),)), "b", ANOTHER))


def test_old_links_that_all_refuse_are_renewed_and_then_only_the_first_choice_is_tried(
    server: Faulty, show: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OLD, 0.0)

    async def story(world: World) -> None:
        assert_gone(world, await world.get(), 2)

    first = offering(server, answer(server, "a", "data_size", (refusal(),)), "b", refusal())
    second = offering(server, answer(server, "c", "data_size", (refusal(),)), "d", ANOTHER)
    show(story, first, second)
    assert asked(server) == ["a1", "b", "a1", "c1", "c1"]


def test_links_that_have_expired_are_renewed_first_and_then_all_renditions_are_tried(
    server: Faulty, show: Callable[..., None]
) -> None:
    async def story(world: World) -> None:
        assert_another(world, await world.get(), 2, HTTP_403)

    first = offering(server, answer(server, "a", "data_size", (GOOD,), ends=EXPIRED), "b", ANOTHER)
    second = offering(server, answer(server, "c", "data_size", (refusal(),)), "d", ANOTHER)
    show(story, first, second)
    assert asked(server) == ["c1", "d"]


def test_links_that_have_expired_are_tried_where_no_call_may_pay_for_new_ones(
    server: Faulty, show: Callable[..., None]
) -> None:
    async def story(world: World) -> None:
        assert_another(world, await world.get(call(cap=1)), 1, HTTP_403)

    show(story, offering(server, answer(server, "a", "data_size", (refusal(),), ends=EXPIRED), "b", ANOTHER))


@pytest.mark.parametrize("first", [True, False])
def test_nothing_more_is_paid_after_a_file_was_refused_for_what_it_contains(
    server: Faulty, show: Callable[..., None], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OLD, 0.0)

    async def story(world: World) -> None:
        for api_calls in (1, 0):
            outcome = await world.get()
            assert outcome.error is not None
            assert (outcome.api_calls, len(world.tikhub.asked)) == (api_calls, 1)
            assert outcome.error.code == ("media_invalid" if first else "media_unavailable")
            assert ("it is encrypted" in outcome.error.message) == first
            assert world.names() == []

    moves = (Act(body=ENCRYPTED), refusal()) if first else (refusal(), Act(body=ENCRYPTED))
    show(story, offering(server, answer(server, "a", "no metadata", (moves[0],)), "b", moves[1]))


@pytest.mark.parametrize("ends", [EXPIRED, LIVE])
def test_a_renewed_file_that_is_encrypted_is_not_blamed_on_its_links(
    server: Faulty, show: Callable[..., None], ends: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OLD, 0.0)

    async def story(world: World) -> None:
        outcome = await world.get()
        assert outcome.error is not None
        assert (outcome.error.code, outcome.api_calls, outcome.error.retry_after) == ("media_invalid", 2, None)
        assert "expired" not in outcome.error.message

    first = answer(server, "a", "no metadata", (refusal(),), ends=ends)
    show(story, first, answer(server, "b", "no metadata", (Act(body=ENCRYPTED),), ends=ends))


def path_of(asked_for: Link) -> str:
    """The path of the API's request for a post, and its query."""
    return httpx.URL(PATH.format(platform="tiktok"), params={"share_url": asked_for.url}).raw_path.decode()


@pytest.mark.slow
def test_an_answer_that_was_cut_by_its_length_is_not_paid_for_again_by_the_same_call(
    server: Faulty, tmp_path: Path
) -> None:
    cut, held, body = link(), link(1), json.dumps(envelope(tiktok_post(aweme_id=str(FIRST)))).encode()
    server.on(path_of(cut), Act(body=body, length=str(len(body) - 9)))
    server.on(path_of(held), Act(status=404))
    settings = Settings(server.base_url, tmp_path)

    async def story() -> None:
        jobs = Jobs.of(settings)
        async with jobs._locks.here("answer", held.key):
            for paid in (1, 0):
                asking = call(seconds=patience(0.5))
                outcomes = await jobs.get_all(asking, [cut, held], Options(settings.videos), 10, lambda _: None)
                error = outcomes[cut.key].error
                assert (error and error.code, outcomes[held.key].status) == ("unexpected_answer", "pending")
                assert outcomes[cut.key].api_calls == paid
        await jobs.close()

    asyncio.run(story())
    assert server.asked().count(path_of(cut)) == 1
    [kept] = [path.read_bytes() for path in settings.raw.glob("raw_unknown_*.json")]
    assert kept == body[:-9]


def test_another_video_of_the_same_size_under_the_posts_name_is_replaced_where_the_answer_gives_a_hash(
    server: Faulty, show: Callable[..., None]
) -> None:
    async def story(world: World) -> None:
        assert_film(world, await world.get(), 1)
        target = world.folder / world.names()[0]
        again = (await world.get()).saved
        assert again is not None
        assert again.reused
        target.write_bytes(OTHER)
        replaced = await world.get()
        assert_film(world, replaced, 0)
        assert replaced.saved is not None
        assert not replaced.saved.reused

    show(story, answer(server, "a", "data_size and file_hash", (GOOD,)))
    assert asked(server) == ["a1", "a1"]
