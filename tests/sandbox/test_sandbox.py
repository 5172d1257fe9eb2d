"""The sandbox: what it answers, how it serves files, and that it comes and goes without a trace."""

import ast
import asyncio
import hashlib
import io
import re
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

import tikhub_mcp.sandbox
from tikhub_mcp.sandbox import SCENARIOS, Sandbox, Scenario, good_links, link, short_link

pytestmark = pytest.mark.slow  # these start servers, programs or libraries that take long

PACKAGE = Path(tikhub_mcp.sandbox.__file__).parent
ACCOUNT = "/api/v1/tikhub/user/get_user_info"
KEY = {"Authorization": "Bearer a-key"}
get = partial(httpx.get, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)  # no certificates to load
STATUS = {
    "failed_once": 400,
    "failed": 400,
    "bad_key": 401,
    "no_balance": 402,
    "no_scope": 403,
    "unverified": 403,
    "disabled": 403,
    "firewall": 403,
    "not_found": 404,
    "rejected": 422,
    "busy_once": 429,
    "busy": 429,
    "error_once": 500,
    "unavailable": 503,
    "timed_out": 522,
}
WITHOUT_POST: dict[str, dict[str, Any]] = {
    "private": {"reason": 5},
    "friends_only": {"reason": 10},
    "blocked": {"reason": 8},
    "gone_on_tiktok": {"statusCode": 10204},
    "gone_on_douyin": {"status_code": 2053},
    "removed": {"filter_reason": "core_dep"},
    "under_review": {"filter_reason": "status_audit"},
    "story_ended": {"filter_reason": "story_25_filter"},
    "self_see": {"statusMsg": "item_privacy_authorization&status_self_see"},
    "region": {"statusMsg": "copyright_geo_filter"},
    "new_reason": {"filter_reason": "new_rule_7"},
    "other_form": {},
    "empty": {},
    "no_details": {},
}
ECHOING = ["bad_key", "no_balance", "no_scope", "unverified", "disabled"]
ONCE = ["failed_once", "busy_once", "error_once"]
PAGES = ["firewall", "timed_out", "web_page"]
PHOTOS = [scenario.name for scenario in SCENARIOS if scenario.shape == "photos"]
NOT_VIDEOS = {*STATUS, *WITHOUT_POST, *PAGES, *PHOTOS, "null_data", "deleted", "no_addresses", "half"}
VIDEOS = [scenario for scenario in SCENARIOS if scenario.name not in {*NOT_VIDEOS, "slow", "no_author_counts"}]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def platform_of(url: str) -> str:
    return "douyin" if "douyin.com" in url else "tiktok"


def route(platform: str) -> str:
    return f"/api/v1/{platform}/app/v3/fetch_one_video_by_share_url"


def ask(sandbox: Sandbox, url: str, headers: dict[str, str] = KEY) -> httpx.Response:
    return get(sandbox.base_url + route(platform_of(url)), params={"share_url": url}, headers=headers)


def post_in(answer: httpx.Response) -> dict[str, Any]:
    data = answer.json()["data"]
    post: dict[str, Any] = data["aweme_details"][0] if "aweme_details" in data else data["aweme_detail"]
    return post


def post(sandbox: Sandbox, name: str, platform: str = "") -> dict[str, Any]:
    return post_in(ask(sandbox, link(name, platform)))


def renditions(video: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = ("play_addr", "play_addr_h264", "play_addr_265", "play_addr_bytevc1")
    found = [video.get(name) for name in names] + [gear["play_addr"] for gear in video["bit_rate"]]
    return {address["url_key"]: address for address in found if address}


def file_url(sandbox: Sandbox, name: str = "tiktok", mirror: int = 0) -> str:
    return str(post(sandbox, name)["video"]["play_addr"]["url_list"][mirror])


def strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict() | list():
            for item in value.values() if isinstance(value, dict) else value:
                yield from strings(item)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# ---- the table


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_scenario_answers_with_its_status_in_json_or_as_a_page(sandbox: Sandbox, scenario: Scenario) -> None:
    started = time.monotonic()
    answer = ask(sandbox, link(scenario.name))
    assert answer.status_code == STATUS.get(scenario.name, 200)
    assert ("json" not in answer.headers["content-type"]) == (scenario.name in PAGES)
    assert time.monotonic() - started >= (2 if scenario.name == "slow" else 0)


@pytest.mark.parametrize("platform", ["tiktok", "douyin"])
@pytest.mark.parametrize("scenario", VIDEOS, ids=lambda scenario: scenario.name)
def test_a_video_has_the_shape_of_its_platform(sandbox: Sandbox, scenario: Scenario, platform: str) -> None:
    found = post(sandbox, scenario.name, platform)
    asked_for = scenario.post_id if scenario.name != "wrong_post" else "7300000000000000000"
    assert found["aweme_id"] == found["statistics"]["aweme_id"] == asked_for
    assert found["status"] | {"is_delete": False, "private_status": 0, "is_prohibited": False} == found["status"]
    assert (found["statistics"]["play_count"] > 0) == (platform == "tiktok")
    assert (found["author"]["follower_count"] > 0) == (platform == "tiktok")
    video = found["video"]
    assert video["duration"] > 2000
    for address in [*renditions(video).values(), video["download_addr"]]:
        *cdn, play = address["url_list"]
        expiry = re.compile(re.escape(sandbox.base_url) + r"/cdn-[ab]/[0-9a-f]{32}/[0-9a-f]{8}/video/tos/\S+")
        assert all(expiry.fullmatch(url) for url in cdn)
        assert len(cdn) == 2
        assert play.startswith(f"{sandbox.base_url}/aweme/v1/play/?")


def test_tiktok_lists_every_codec_and_douyin_has_its_h264_in_play_addr_alone(sandbox: Sandbox) -> None:
    tiktok, douyin = post(sandbox, "tiktok")["video"], post(sandbox, "douyin")["video"]
    assert [gear["is_bytevc1"] for gear in tiktok["bit_rate"]] == [0, 0, 1]
    assert tiktok["play_addr"] == tiktok["play_addr_h264"]
    assert "_h264_360p_" in tiktok["play_addr"]["url_key"]
    assert "_h264_360p_" in douyin["play_addr"]["url_key"]
    assert [gear["is_h265"] for gear in douyin["bit_rate"]] == [1]
    assert "_bytevc1_360p_" in douyin["play_addr_265"]["url_key"]
    assert "play_addr_h264" not in douyin
    assert douyin["cdn_url_expired"] > time.time() > tiktok["cdn_url_expired"] == 0


def test_some_videos_have_h265_only(sandbox: Sandbox) -> None:
    for name in ("h265", "silent"):
        video = post(sandbox, name)["video"]
        assert video["is_h265"] == 1
        assert all("_bytevc1_" in key for key in renditions(video))
        assert video["play_addr_h264"] is None


@pytest.mark.parametrize("platform", ["tiktok", "douyin"])
def test_some_answers_offer_files_that_do_not_play(sandbox: Sandbox, platform: str) -> None:
    def last_gear(name: str) -> dict[str, Any]:
        return dict(post(sandbox, name, platform)["video"]["bit_rate"][-1])

    dash, marked, h266 = (last_gear(name) for name in ("dash", "dash_link", "h266"))
    assert (dash["format"], marked["format"], h266["format"]) == ("dash", "mp4", "mp4")
    assert all("media-video-hvc1" in url for url in marked["play_addr"]["url_list"])
    assert (h266["is_h265"], h266["is_bytevc1"], h266["play_addr"]["url_key"]) == (2, 2, "")
    files = {name: post(sandbox, name, platform)["video"] for name in ("dead_file", "sound_only", "encrypted")}
    main = {name: get(video["play_addr"]["url_list"][0]) for name, video in files.items()}
    assert {name: file.status_code for name, file in main.items()} == {
        "dead_file": 403,
        "sound_only": 200,
        "encrypted": 200,
    }
    assert main["sound_only"].content == (PACKAGE / "media" / "music.m4a").read_bytes()
    assert main["sound_only"].headers["content-type"] == "video/mp4"
    assert b"encv" in main["encrypted"].content
    assert all(get(video["bit_rate"][-1]["play_addr"]["url_list"][0]).status_code == 200 for video in files.values())


@pytest.mark.parametrize("name", WITHOUT_POST)
def test_an_answer_without_a_post_says_why_where_it_knows(sandbox: Sandbox, name: str) -> None:
    for platform in ("tiktok", "douyin"):
        data = ask(sandbox, link(name, platform)).json()["data"]
        assert not data.get("aweme_detail")
        assert not data.get("aweme_details")
        assert ("aweme_details" in data) == (platform == "tiktok")
        said = data.get("filter_list", [data | data.get("filter_detail", {})])[0]
        assert said | WITHOUT_POST[name] == said
        assert ("filter_list" in data) == ("reason" in WITHOUT_POST[name])


def test_answers_can_lack_the_link_or_the_counts_of_the_author_or_hold_several_posts_or_a_list(
    sandbox: Sandbox,
) -> None:
    assert ask(sandbox, link("no_params")).json()["params"] is None
    author = post(sandbox, "no_author_counts")["author"]
    assert (author["follower_count"], author["following_count"], author["aweme_count"]) == (0, 0, 0)
    found = ask(sandbox, link("several_posts")).json()["data"]["aweme_details"]
    assert len({aweme["aweme_id"] for aweme in found}) == 3
    assert len(ask(sandbox, link("other_form")).json()["data"]["aweme_list"]) == 1


def test_an_answer_can_have_code_400_and_no_data(sandbox: Sandbox) -> None:
    body = ask(sandbox, link("null_data")).json()
    assert (body["code"], body["data"]) == (400, None)


def test_a_deleted_post_is_described_without_its_video(sandbox: Sandbox) -> None:
    found = post(sandbox, "deleted")
    assert (found["status"]["is_delete"], found["video"]) == (True, None)


def test_a_video_can_be_without_any_address(sandbox: Sandbox) -> None:
    video = post(sandbox, "no_addresses")["video"]
    assert not any(url.startswith("http") for url in strings(video))


@pytest.mark.parametrize(("name", "count"), [("photos", 9), ("album", 3)])
def test_the_only_file_in_the_video_of_a_photo_post_is_the_music(sandbox: Sandbox, name: str, count: int) -> None:
    tiktok, douyin = post(sandbox, name, "tiktok"), post(sandbox, name, "douyin")
    assert (tiktok["aweme_type"], len(tiktok["image_post_info"]["images"]), tiktok["images"]) == (150, count, None)
    assert (douyin["aweme_type"], len(douyin["images"])) == (68, count)
    for found in (tiktok, douyin):
        file = get(found["video"]["play_addr"]["url_list"][0])
        assert file.headers["content-type"] == "audio/mp4"
        with av.open(io.BytesIO(file.content)) as container:
            assert [stream.type for stream in container.streams] == ["audio"]


def test_half_an_answer_is_not_json(sandbox: Sandbox) -> None:
    answer = ask(sandbox, link("half"))
    assert answer.headers["content-type"] == "application/json"
    with pytest.raises(ValueError, match=r"."):
        answer.json()


@pytest.mark.parametrize(
    ("name", "text"), [("firewall", "error code: 1010"), ("timed_out", "522"), ("web_page", "<h1>")]
)
def test_some_answers_are_not_tikhubs(sandbox: Sandbox, name: str, text: str) -> None:
    assert text in ask(sandbox, link(name)).text


def test_the_envelope_is_complete_and_new_every_time(sandbox: Sandbox) -> None:
    url = link("douyin")
    first, second = ask(sandbox, url).json(), ask(sandbox, url).json()
    assert first.keys() >= {"code", "message", "message_zh", "time", "cache_url", "support"}
    assert (first["code"], first["router"], first["params"]) == (200, route("douyin"), {"share_url": url})
    assert abs(first["time_stamp"] - time.time()) < 5
    assert first["request_id"] != second["request_id"]
    assert first["data"]["aweme_detail"] == second["data"]["aweme_detail"]


def test_every_other_id_is_a_good_video_with_numbers_of_its_own(sandbox: Sandbox) -> None:
    urls = [*good_links(5), link("tiktok").replace("001", "999")]
    found = [post_in(ask(sandbox, url)) for url in urls]
    assert [each["aweme_id"] for each in found] == [url.rpartition("/")[2] for url in urls]
    assert len({each["statistics"]["digg_count"] for each in found}) == len(found)
    assert [post_in(ask(sandbox, url))["statistics"] for url in urls] == [each["statistics"] for each in found]
    assert "/douyin.com/" not in good_links(1, "douyin")[0]
    assert post_in(ask(sandbox, good_links(1, "douyin")[0]))["statistics"]["play_count"] == 0


def test_texts_are_those_that_cause_trouble(sandbox: Sandbox) -> None:
    found = [post_in(ask(sandbox, url)) for url in good_links(5)]
    said = "".join(each["desc"] + each["author"]["nickname"] for each in found)
    assert re.search("[\u4e00-\u9fff]", said)
    assert re.search("[\U0001f300-\U0001faff]", said)
    assert "\n" in said
    assert any(each["author"]["nickname"].startswith("=") for each in found)
    assert any(each["desc"].startswith("-") for each in found)
    for each in found:
        assert re.findall(r" #(\S+)", each["desc"]) == [tag["hashtag_name"] for tag in each["text_extra"]]


# ---- links


@pytest.mark.parametrize(
    "form",
    [
        "https://www.tiktok.com/@a.b/video/{}?is_from_webapp=1",
        "https://www.tiktok.com/@1234567890123456789/photo/{}",
        "https://m.tiktok.com/v/{}.html",
        "https://www.tiktok.com/embed/v2/{}",
        "https://www.tiktokv.com/share/video/{}/",
        "https://www.douyin.com/discover?modal_id={}",
        "https://www.douyin.com/user/MS4wLjABAAAA?vid={}&x=1",
        "https://www.iesdouyin.com/share/note/{}/",
        "https://jingxuan.douyin.com/m/video/{}",
    ],
)
def test_a_link_of_any_form_leads_to_its_post(sandbox: Sandbox, form: str) -> None:
    assert post_in(ask(sandbox, form.format("7123456789012345678")))["aweme_id"] == "7123456789012345678"


def test_short_links_lead_to_the_scenarios(sandbox: Sandbox) -> None:
    assert short_link("douyin") == "https://v.douyin.com/demoDouyin/"
    assert short_link("friends_only", "tiktok") == "https://vm.tiktok.com/demoFriendsOnly/"
    for url in (short_link("h265"), short_link("h265", "douyin"), "https://www.tiktok.com/t/demoH265?k=1"):
        assert post_in(ask(sandbox, url))["aweme_id"] == "7000000000000000003"


def test_any_other_short_link_leads_to_the_same_good_video_every_time(sandbox: Sandbox) -> None:
    urls = ["https://v.douyin.com/iRNBxx6u/", "https://vm.tiktok.com/ZM-x_1/", "https://vt.tiktok.com/ZSx2"] * 2
    ids = [post_in(ask(sandbox, url))["aweme_id"] for url in urls]
    assert ids[:3] == ids[3:]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"72\d{17}", each) for each in ids)


@pytest.mark.parametrize(
    "text",
    [
        "7.61 复制打开抖音 https://v.douyin.com/demoDouyin/ NWZ:/",
        "https://www.douyin.com/user/MS4wLjABAAAA",
        "https://douyin.com.evil.example/video/7000000000000000002",
        "https://www.tiktok.com/@sandbox",
        "http://[",
    ],
)
def test_what_is_no_link_to_a_post_is_refused(sandbox: Sandbox, text: str) -> None:
    assert ask(sandbox, text).status_code == 400


def test_the_other_platforms_link_is_refused(sandbox: Sandbox) -> None:
    url = sandbox.base_url + route("tiktok")
    assert get(url, params={"share_url": link("douyin")}, headers=KEY).status_code == 400


def test_the_description_leads_to_every_scenario() -> None:
    described = Sandbox.describe()[: len(SCENARIOS)]
    assert len({url for url, _ in described}) == len(described) == len(SCENARIOS)
    assert len({scenario.number for scenario in SCENARIOS}) == len(SCENARIOS)
    assert (link("album"), link("photos")) == (
        "https://www.douyin.com/note/7000000000000000006",
        "https://www.tiktok.com/@sandbox/photo/7000000000000000005",
    )
    assert all(
        what and url.endswith(f"{scenario.number:03}")
        for (url, what), scenario in zip(described, SCENARIOS, strict=True)
    )


# ---- refusals


@pytest.mark.parametrize("name", [*ECHOING, "failed", "busy", "unavailable"])
def test_errors_about_the_account_echo_the_key_and_others_do_not(sandbox: Sandbox, name: str) -> None:
    detail = ask(sandbox, link(name)).json()["detail"]
    assert (detail["code"], detail["router"]) == (STATUS[name], route(platform_of(link(name))))
    assert detail.get("headers", {}).get("authorization") == ("Bearer a-key" if name in ECHOING else None)


def test_422_has_a_list_for_detail_and_404_a_word(sandbox: Sandbox) -> None:
    assert ask(sandbox, link("rejected")).json()["detail"][0]["loc"] == ["query", "share_url"]
    assert ask(sandbox, link("not_found")).json() == {"detail": "Not Found"}


@pytest.mark.parametrize("header", [None, "", "a-key", "Bearer", "Basic a-key", "Bearer another"])
def test_a_missing_or_wrong_key_gets_401(header: str | None) -> None:
    with Sandbox(key="a-key") as sandbox:
        assert ask(sandbox, link("tiktok")).status_code == 200
        refused = ask(sandbox, link("tiktok"), {} if header is None else {"Authorization": header})
        assert refused.status_code == 401
        assert refused.json()["detail"]["headers"].get("authorization") == header


@pytest.mark.parametrize(("ending", "platform", "status"), [("scope", "douyin", 403), ("credit", "tiktok", 402)])
def test_a_key_that_ends_as_described_is_refused_for_one_platform(
    sandbox: Sandbox, ending: str, platform: str, status: int
) -> None:
    key = f"-no-{ending}-{platform}"
    assert (f"a key that ends in {key}", f"{status} for every post of {platform}") in Sandbox.describe()
    for url in good_links(1) + good_links(1, "douyin"):
        refused = ask(sandbox, url, {"Authorization": f"Bearer a-key{key}"}).status_code
        assert refused == (status if platform_of(url) == platform else 200)


@pytest.mark.parametrize("name", ONCE)
def test_what_happens_once_happens_once_for_each_sandbox(name: str) -> None:
    for _ in range(2):
        with Sandbox() as fresh:
            answers = [ask(fresh, link(name)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [STATUS[name], 200, 200]
        assert answers[0].headers.get("retry-after") == ("1" if name == "busy_once" else None)
        assert post_in(answers[1])["aweme_id"] == link(name).rpartition("/")[2]


def test_a_long_wait_is_named_in_seconds(sandbox: Sandbox) -> None:
    assert ask(sandbox, link("busy")).headers["retry-after"] == "3600"


def test_more_calls_a_second_than_the_rate_get_429() -> None:
    with Sandbox(rate=3) as sandbox, httpx.Client(base_url=sandbox.base_url, headers=KEY, trust_env=False) as client:

        def asked() -> httpx.Response:
            return client.get(ACCOUNT)

        answers = [asked() for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[-1].headers["retry-after"] == "1"
        sandbox._admitted[0] -= 1  # as if the first had come a second earlier
        assert [asked().status_code for _ in range(2)] == [200, 429]


def test_other_routes_of_the_api(sandbox: Sandbox) -> None:
    with httpx.Client(base_url=sandbox.base_url, headers=KEY, trust_env=False) as client:
        assert client.get(ACCOUNT).json()["user_data"]["balance"] > 0
        assert client.get("/api/v1/demo/tiktok/app/fetch_one_video").json()["data"]["aweme_details"]
        assert client.get("/api/v1/tiktok/web/anything").status_code == 404
        assert client.get(route("tiktok")).status_code == 422
        assert client.post(route("tiktok")).status_code == 405


def test_the_account_is_shown_to_the_right_key_only_and_costs_no_post() -> None:
    with Sandbox(key="right") as sandbox:
        wrong = get(sandbox.base_url + ACCOUNT, headers={"Authorization": "Bearer wrong"})
        shown = get(sandbox.base_url + ACCOUNT, headers={"Authorization": "Bearer right"})
    assert (wrong.status_code, shown.status_code) == (401, 200)
    account = shown.json()
    assert account.keys() == {"code", "api_key_data", "user_data"}
    assert account["api_key_data"].keys() == {"api_key_scopes", "expires_at", "api_key_status"}
    assert account["user_data"].keys() == {"balance", "free_credit", "email_verified", "account_disabled"}
    assert [(call.path, call.share_url, call.status) for call in sandbox.calls] == [
        (ACCOUNT, "", 401),
        (ACCOUNT, "", 200),
    ]


# ---- what was asked


def test_every_call_is_remembered_as_it_came() -> None:
    with Sandbox(key="right") as sandbox:
        url = link("private")
        ask(sandbox, url, {"Authorization": "Bearer wrong", "User-Agent": "one"})
        ask(sandbox, url, {"Authorization": "Bearer right", "User-Agent": "two"})
        get(f"{sandbox.base_url}/api/else")
    calls = [(call.path, call.share_url, call.authorization, call.status) for call in sandbox.calls]
    assert calls == [
        (route("douyin"), url, "Bearer wrong", 401),
        (route("douyin"), url, "Bearer right", 200),
        ("/api/else", "", "", 401),
    ]
    assert [call.user_agent for call in sandbox.calls[:2]] == ["one", "two"]
    assert abs(sandbox.calls[0].time - time.time()) < 5


def test_every_media_request_is_remembered_with_the_secrets_it_should_not_have() -> None:
    with Sandbox() as sandbox:
        url = file_url(sandbox)
        get(url, headers={"Range": "bytes=5-", "User-Agent": "x", "Referer": "https://www.tiktok.com/"})
        get(url, headers={**KEY, "Cookie": "a=b"})
    first, second = sandbox.media_requests
    assert url.startswith(sandbox.base_url + first.path)
    assert (first.range, first.user_agent, first.referer) == ("bytes=5-", "x", "https://www.tiktok.com/")
    assert (first.authorization, first.cookie, first.status) == ("", "", 206)
    assert (second.authorization, second.cookie, second.status) == ("Bearer a-key", "a=b", 200)


# ---- files


@pytest.mark.parametrize(("name", "sound"), [("tiktok", True), ("douyin", True), ("silent", False)])
def test_files_are_what_the_answer_says(sandbox: Sandbox, name: str, sound: bool) -> None:
    found = post(sandbox, name)
    for key, address in renditions(found["video"]).items():
        for url in address["url_list"]:
            file = get(url, follow_redirects=True)
            assert (file.status_code, file.headers["content-type"]) == (200, "video/mp4")
            assert int(file.headers["content-length"]) == len(file.content) == address["data_size"]
            assert hashlib.md5(file.content).hexdigest() == address["file_hash"]
        with av.open(io.BytesIO(file.content), "r") as container:
            video = container.streams.video[0]
            assert {"h264": "_h264_", "hevc": "_bytevc1_"}[video.codec_context.name] in key
            assert (video.width, video.height) == (address["width"], address["height"])
            assert abs((container.duration or 0) / 1000 - found["video"]["duration"]) < 100
            assert bool(container.streams.audio) == sound


def test_the_play_api_redirects_to_the_cdn(sandbox: Sandbox) -> None:
    answer = get(file_url(sandbox, mirror=2))
    assert (answer.status_code, answer.headers["location"][:7]) == (302, "/cdn-b/")


def test_the_watermarked_copy_has_links_of_its_own_and_wrong_measures(sandbox: Sandbox) -> None:
    video = post(sandbox, "tiktok")["video"]
    copy = video["download_addr"]
    assert not {*copy["url_list"]} & {*video["play_addr"]["url_list"]}
    assert (copy["width"], copy["height"]) == (720, 720)
    assert get(copy["url_list"][0]).status_code == 200


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, None),
        ("bytes=-50", -50, None),
        ("bytes=0-999999999", 0, None),
        ("bytes=-999999999", 0, None),
    ],
)
def test_a_range_is_served(sandbox: Sandbox, header: str, start: int, stop: int | None) -> None:
    url = file_url(sandbox)
    whole = get(url)
    part = get(url, headers={"Range": header})
    assert part.status_code == 206
    assert part.content == whole.content[start:stop]
    begin, size = range(len(whole.content))[start], len(whole.content)
    assert part.headers["content-range"] == f"bytes {begin}-{begin + len(part.content) - 1}/{size}"
    assert part.headers["content-length"] == str(len(part.content))
    assert part.headers["etag"] == whole.headers["etag"]
    assert re.fullmatch(r'"[^"]+"', whole.headers["etag"])
    assert whole.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("header", ["bytes=999999999-", "bytes=-0", "bytes=9-3"])
def test_a_range_that_cannot_be_met_gets_416(sandbox: Sandbox, header: str) -> None:
    url = file_url(sandbox)
    answer = get(url, headers={"Range": header})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(get(url).content)}"


@pytest.mark.parametrize("header", ["items=0-1", "bytes=-", "bytes=1-2,4-5", "bytes=a-b"])
def test_a_range_that_says_nothing_gets_the_whole(sandbox: Sandbox, header: str) -> None:
    assert get(file_url(sandbox), headers={"Range": header}).status_code == 200


def test_if_range_holds_only_for_the_same_strong_etag(sandbox: Sandbox) -> None:
    url = file_url(sandbox)
    etag = get(url).headers["etag"]
    statuses = [
        get(url, headers={"Range": "bytes=9-", "If-Range": tag}).status_code
        for tag in (etag, f"W/{etag}", '"another"', "Sat, 01 Jan 2000 00:00:00 GMT")
    ]
    assert statuses == [206, 200, 200, 200]


def test_a_link_that_was_changed_is_refused(sandbox: Sandbox) -> None:
    for mirror in (0, 2):
        url = file_url(sandbox, mirror=mirror)
        assert get(url.replace("h264_large", "music")).status_code == 403
    assert get(f"{sandbox.base_url}/aweme/v1/play/").status_code == 403


@pytest.mark.parametrize(
    ("name", "statuses"), [("first_refused", [403, 200, 302]), ("all_refused", [403] * 3), ("expired", [403] * 3)]
)
def test_mirrors_refuse(name: str, statuses: list[int]) -> None:
    with Sandbox() as fresh:
        urls = post(fresh, name)["video"]["play_addr"]["url_list"]
        assert [get(url).status_code for url in urls] == statuses


def test_a_second_call_brings_fresh_links() -> None:
    with Sandbox() as fresh:
        answers = [post(fresh, "expired", "douyin")["video"] for _ in range(2)]
        assert [answer["cdn_url_expired"] > time.time() for answer in answers] == [False, True]
        assert [f"/{answer['cdn_url_expired']:08x}/" in answer["play_addr"]["url_list"][0] for answer in answers]
        assert get(answers[1]["play_addr"]["url_list"][0]).status_code == 200


def test_a_web_page_can_be_labelled_as_a_video(sandbox: Sandbox) -> None:
    file = get(file_url(sandbox, "page_as_video"))
    assert (file.headers["content-type"], file.content[:4]) == ("video/mp4", b"<h1>")


def test_a_short_file_has_honest_headers_and_another_size_than_the_answer(sandbox: Sandbox) -> None:
    address = post(sandbox, "short_file")["video"]["play_addr"]
    file = get(address["url_list"][0])
    assert int(file.headers["content-length"]) == len(file.content) == address["data_size"] * 2 // 3
    assert file.headers["etag"] != get(file_url(sandbox)).headers["etag"]


def test_nobody_says_the_size_of_an_unsized_file(sandbox: Sandbox) -> None:
    address = post(sandbox, "unsized")["video"]["play_addr"]
    assert not address.keys() & {"data_size", "file_hash", "file_cs"}
    file = get(address["url_list"][0], headers={"Range": "bytes=5-"})
    assert (file.status_code, "content-length" in file.headers, "etag" in file.headers) == (200, False, False)
    assert file.content == get(file_url(sandbox)).content


# ---- time


def test_latency_delays_answers_and_media_latency_delays_files() -> None:
    with Sandbox(latency=0.2) as sandbox:
        started = time.monotonic()
        url = file_url(sandbox)
        assert time.monotonic() - started >= 0.2
        sandbox.media_latency = 0.2
        started = time.monotonic()
        get(url)
        assert time.monotonic() - started >= 0.2


def test_files_come_at_the_speed_that_was_set() -> None:
    with Sandbox(media_bytes_per_second=400_000) as sandbox:
        url = file_url(sandbox)
        started = time.monotonic()
        size = len(get(url).content)
        assert time.monotonic() - started > size / 800_000


def test_ten_clients_are_served_at_once_inside_a_running_loop() -> None:
    async def one(client: httpx.AsyncClient, url: str) -> int:
        answer = await client.get(route("tiktok"), params={"share_url": url}, headers=KEY)
        file = await client.get(post_in(answer)["video"]["play_addr"]["url_list"][2], follow_redirects=True)
        return len(file.content)

    async def ten(sandbox: Sandbox) -> list[int]:
        async with httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False) as client:
            return await asyncio.gather(*(one(client, url) for url in good_links(10)))

    async def program() -> tuple[list[int], list[float]]:
        with Sandbox(latency=0.5) as sandbox:
            return await ten(sandbox), [call.time for call in sandbox.calls]

    sizes, arrivals = asyncio.run(program())
    assert len(sizes) == 10
    assert len(set(sizes)) == 1
    assert max(arrivals) - min(arrivals) < 0.5  # the last was there before the first was answered


# ---- coming and going


def test_starting_and_stopping_twenty_times_leaks_nothing() -> None:
    descriptors, before, threads = Path("/dev/fd"), 0, threading.active_count()
    for _ in range(20):
        with Sandbox() as sandbox:
            assert get(sandbox.base_url).status_code == 404
        if descriptors.exists():
            now = len(list(descriptors.iterdir()))
            before = before or now  # after the first: what is imported late stays open
            assert now <= before
    assert threading.active_count() == threads


def test_stopping_is_quick_with_clients_of_every_kind_still_there(capfd: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox(media_bytes_per_second=1000).start()
    address = ("127.0.0.1", int(sandbox.base_url.rpartition(":")[2]))
    request = f"GET {route('douyin')}?share_url={link('slow')} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n\r\n"
    url = file_url(sandbox)
    with (
        socket.create_connection(address),
        socket.create_connection(address) as waiting,
        httpx.Client(trust_env=False) as client,
    ):
        waiting.sendall(request.encode())
        until(lambda: len(sandbox.calls) == 2)
        with client.stream("GET", url) as streaming:
            pieces = streaming.iter_raw()
            next(pieces)
            started = time.monotonic()
            sandbox.stop()
            assert time.monotonic() - started < 1  # a quarter, on a machine with nothing else to do
            with pytest.raises(httpx.TransportError):
                list(pieces)
    with pytest.raises(ConnectionError):
        socket.create_connection(address)
    assert capfd.readouterr() == ("", "")


def test_a_client_that_leaves_early_is_no_trouble(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(httpx.ReadTimeout):
        get(sandbox.base_url + route("douyin"), params={"share_url": link("slow")}, headers=KEY, timeout=0.05)
    assert sandbox.calls[-1].status == 0
    assert ask(sandbox, link("douyin")).status_code == 200
    assert capfd.readouterr() == ("", "")


def test_it_listens_on_one_loopback_address_only(sandbox: Sandbox) -> None:
    host, _, port = sandbox.base_url.removeprefix("http://").partition(":")
    assert host == "127.0.0.1"
    if sys.platform == "linux":  # where all of 127/8 is loopback, as a wildcard would show
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", int(port)), timeout=1)


def test_a_taken_port_is_an_error_and_a_freed_one_can_be_used_again() -> None:
    with Sandbox() as sandbox:
        port = int(sandbox.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match=r"."):
            Sandbox(port=port).start()
        ask(sandbox, link("tiktok"))
    with Sandbox(port=port) as again:
        assert again.base_url == sandbox.base_url


def test_signals_stay_with_the_program(sandbox: Sandbox) -> None:
    assert sandbox.calls is not None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# ---- the package


def test_every_link_in_an_answer_stays_on_the_loopback_interface(sandbox: Sandbox) -> None:
    for name in ("tiktok", "douyin", "photos", "album", "deleted"):
        links = {each for each in strings(ask(sandbox, link(name)).json()["data"]) if "://" in each}
        assert links
        assert all(each.startswith(f"{sandbox.base_url}/") for each in links)


def test_the_package_names_no_host_but_the_platforms_and_its_own() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.iterdir() if path.suffix in (".py", ".json"))
    hosts = set(re.findall(r"https?://([\w.-]+)", sources))
    assert hosts <= {"127.0.0.1", "cache.tikhub.invalid", "v.douyin.com", "www."}


def test_the_package_imports_nothing_else_of_this_project() -> None:
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tikhub_mcp"):
                assert (node.module or "").startswith("tikhub_mcp.sandbox")
