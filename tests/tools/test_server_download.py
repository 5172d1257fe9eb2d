"""download_video through a client: from a link to a file, its facts and its price."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from mcp.client import Client

from tests.support import mcp_session
from tests.support.mcp_session import KEY, MEDIA, Desk, Era, content, listing, mode
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import link, short_link
from tikhub_mcp.server import Server
from tikhub_mcp.tools.handlers import Tools

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.mark.both_eras
@pytest.mark.parametrize(
    ("text", "platform", "kind"),
    [
        (link("tiktok"), "tiktok", "long"),
        (short_link("tiktok"), "tiktok", "short"),
        (f"Check out this video! {link('tiktok')}?is_from_webapp=1 #fyp", "tiktok", "long"),
        (f"7.43 复制打开抖音，看看【纸船的作品】{short_link('douyin')} wfO:/ 05/16", "douyin", "short"),
        (f"{link('private')[:20]} and {link('douyin')}，好看", "douyin", "long"),
    ],
)
async def test_a_link_or_share_text_becomes_a_file_an_answer_and_numbers(
    desk: Desk, text: str, platform: str, kind: str
) -> None:
    reply = await desk.one(text)
    assert not reply.is_error
    assert (reply["status"], reply["platform"], reply["kind"]) == ("ok", platform, "video")
    assert reply["url"] in text
    assert reply["video_id"] == {"tiktok": "7000000000000000001", "douyin": "7000000000000000002"}[platform]
    assert reply["error"] is None
    assert (reply["note"] is None) is (" and " not in text)  # what else the text links to
    assert reply["cost"] == {"api_calls": 1, "reused_answer": False}
    assert len(desk.asked) == 1
    raw = json.loads(content(reply["raw_json_path"]))
    assert raw["params"]["share_url"] == desk.asked[0]
    assert reply["metrics"]["video_id"] == reply["video_id"]
    assert reply["metrics"]["plays"] is None if platform == "douyin" else reply["metrics"]["plays"] > 0
    assert set(reply["metrics"]["notes"]) == ({"plays"} if platform == "douyin" else set())
    assert desk.videos == [Path(reply["file"]["path"]).name]


@pytest.mark.parametrize(
    ("scenario", "quality", "clip", "facts"),
    [
        ("tiktok", "compatible", "h264_large", ("h264", 360, 640, True)),
        ("tiktok", "best", "h264_large", ("h264", 360, 640, True)),
        ("tiktok", "smallest", "", None),
        ("h265", "compatible", "h265", ("h265", 360, 640, True)),
    ],
)
async def test_what_is_said_of_the_file_is_measured_from_the_file(
    desk: Desk, scenario: str, quality: str, clip: str, facts: tuple[str, int, int, bool] | None
) -> None:
    file = (await desk.one(link(scenario), quality=quality))["file"]
    found = content(file["path"])
    assert (file["size_bytes"], file["sha256"]) == (len(found), hashlib.sha256(found).hexdigest())
    assert file["uri"] == Path(file["path"]).as_uri()
    assert Path(file["path"]).is_relative_to(desk.root / "videos")
    assert file["path"].endswith(".mp4" if quality == "compatible" else f".{quality}.mp4")
    assert 2_900 <= file["duration_ms"] <= 3_100
    assert file["reused"] is False
    assert file["warnings"] == []
    if facts:
        assert found == content(MEDIA / f"{clip}.mp4")
        assert (file["codec"], file["width"], file["height"], file["has_audio"]) == facts
    else:
        smallest = min(len(content(MEDIA / f"{name}.mp4")) for name in ("h264_large", "h264", "h265"))
        assert len(found) == smallest


async def test_of_the_apps_share_text_the_post_is_fetched_and_what_is_left_out_is_named(desk: Desk) -> None:
    other = short_link("douyin").replace("v.douyin", "vm.tiktok")
    text = f"{short_link('tiktok')}\nThis post is shared via TikTok. Download TikTok to enjoy more posts: {other}"
    reply = await desk.one(text, metrics_only=True)
    assert (reply["status"], reply["video_id"], len(desk.asked)) == ("ok", "7000000000000000001", 1)
    assert reply["note"] == f"Links that lead to no post or advertise the app, left out: 1 ({other})."
    batch = await desk.batch(text, metrics_only=True)
    assert ([item["url"] for item in batch["results"]], batch["note"]) == ([short_link("tiktok")], reply["note"])


NOT_FIRST = "this is not the first choice (h264, 360x640): "


@pytest.mark.parametrize(
    ("scenario", "quality", "clip", "warnings"),
    [
        ("silent", "best", "h265_silent", ["it has no sound, although the post names music"]),
        ("dash", "compatible", "h264_large", []),
        ("dash", "best", "h264_large", []),
        ("dash_link", "best", "h264_large", []),
        ("dash_link", "smallest", "h264_large", []),
        ("dead_file", "compatible", "h264", [f"{NOT_FIRST}the CDN answered HTTP 403"]),
        ("sound_only", "compatible", "h265", [f"{NOT_FIRST}it has no video track"]),
        ("encrypted", "compatible", "h264", [f"{NOT_FIRST}it is encrypted"]),
        ("h266", "best", "h264_large", []),
    ],
)
async def test_the_best_file_that_plays_is_taken_and_the_reply_warns_of_what_is_wrong_with_it(
    desk: Desk, scenario: str, quality: str, clip: str, warnings: list[str]
) -> None:
    file = (await desk.one(link(scenario), quality=quality))["file"]
    assert content(file["path"]) == content(MEDIA / f"{clip}.mp4")
    assert file["warnings"] == warnings


async def test_an_encrypted_file_is_no_video(desk: Desk) -> None:
    reply = await desk.one(link("all_encrypted"))
    assert (reply.code, desk.videos) == ("media_invalid", [])
    assert "it is encrypted" in reply.message


async def test_a_size_that_nobody_confirmed_is_named_in_the_reply(desk: Desk) -> None:
    reply = await desk.one(link("unsized"))
    assert reply["status"] == "ok"
    assert any("size is not confirmed" in warning for warning in reply["file"]["warnings"])


async def test_metrics_only_is_everything_but_the_file(desk: Desk) -> None:
    reply = await desk.one(link("tiktok"), metrics_only=True)
    assert (reply["status"], reply["file"]) == ("ok", None)
    assert reply["metrics"]["likes"] > 0
    assert reply["raw_json_path"]
    assert not desk.sandbox.media_requests
    assert not (desk.root / "videos").exists()


async def test_the_answer_and_the_file_are_used_again_for_free(desk: Desk) -> None:
    first = await desk.one(link("tiktok"))
    requests = len(desk.sandbox.media_requests)
    second = await desk.one(link("tiktok"))
    assert second["cost"] == {"api_calls": 0, "reused_answer": True}
    assert second["file"] == {**first["file"], "reused": True}
    assert second["metrics"] == first["metrics"]  # as_of with it: the old time
    assert second["raw_json_path"] == first["raw_json_path"]
    assert (len(desk.asked), len(desk.sandbox.media_requests)) == (1, requests)


async def test_a_new_process_finds_what_the_old_one_paid_for(desk: Desk, era: Era, environ: dict[str, str]) -> None:
    await desk.one(link("tiktok"))
    async with Client(Server(Tools(environ)), mode=era) as client:
        after = Desk(client, desk.sandbox, environ, desk.root)
        reply = await after.one(link("tiktok"))
    assert reply["cost"] == {"api_calls": 0, "reused_answer": True}
    assert reply["file"]["reused"]
    assert len(desk.asked) == 1


async def test_refresh_pays_for_a_new_answer_and_keeps_the_file(desk: Desk) -> None:
    first = await desk.one(link("tiktok"))
    second = await desk.one(link("tiktok"), refresh=True)
    assert second["cost"] == {"api_calls": 1, "reused_answer": False}
    assert second["raw_json_path"] != first["raw_json_path"]
    assert second["file"]["reused"]
    assert len(desk.asked) == 2


async def test_a_damaged_file_is_fetched_again_without_paying(desk: Desk) -> None:
    first = await desk.one(link("tiktok"))
    os.truncate(first["file"]["path"], 5_000)
    second = await desk.one(link("tiktok"))
    assert second["file"] == first["file"]
    assert len(desk.asked) == 1


async def test_without_save_raw_nothing_of_the_answer_is_written_and_it_is_used_again(desk: Desk) -> None:
    first = await desk.one(link("tiktok"), save_raw=False)
    second = await desk.one(link("tiktok"), save_raw=False)
    assert first["raw_json_path"] is second["raw_json_path"] is None
    assert second["cost"] == {"api_calls": 0, "reused_answer": True}
    assert not list(desk.root.rglob("*.json"))
    kept = await desk.one(link("tiktok"))
    assert content(kept["raw_json_path"])
    assert len(desk.asked) == 1


async def test_the_raw_file_is_for_its_owner_alone_and_has_real_characters(desk: Desk) -> None:
    path = (await desk.one(link("douyin")))["raw_json_path"]
    text = content(path).decode()
    assert mode(path) == 0o600
    assert text.startswith('{\n  "')
    assert "请求成功" in text
    assert KEY not in text


FAILURES = [
    # scenario, code, retryable, api_calls, kind
    ("no_photos", "not_a_video", False, 1, "images"),
    ("private", "post_unavailable", False, 1, None),
    ("deleted", "post_unavailable", False, 1, "video"),
    ("null_data", "unexpected_answer", False, 1, None),
    ("no_addresses", "post_unavailable", False, 1, "video"),
    ("wrong_post", "wrong_post", False, 1, None),
    ("half", "unexpected_answer", False, 1, None),
    ("web_page", "unexpected_answer", False, 1, None),
    ("firewall", "unexpected_answer", False, 0, None),
    ("not_found", "unexpected_answer", False, 0, None),
    ("rejected", "unexpected_answer", False, 0, None),
    ("busy", "rate_limited", True, 0, None),
    ("bad_key", "api_key_invalid", False, 0, None),
    ("no_balance", "insufficient_balance", False, 0, None),
    ("no_scope", "permission_denied", False, 0, None),
    ("page_as_video", "media_invalid", True, 1, "video"),
]


@pytest.mark.parametrize(("name", "code", "retryable", "calls", "kind"), FAILURES, ids=[row[0] for row in FAILURES])
async def test_what_cannot_be_had_is_an_error_that_says_what_it_cost(
    desk: Desk, name: str, code: str, retryable: bool, calls: int, kind: str | None
) -> None:
    reply = await desk.one(link(name))
    assert reply.is_error
    assert (reply["status"], reply.code, reply["file"]) == ("failed", code, None)
    assert (reply["error"]["retryable"], reply["kind"]) == (retryable, kind)
    assert reply["error"]["stop"] is (code in ("api_key_invalid", "insufficient_balance", "permission_denied"))
    assert (reply["error"]["tell_human"] is not None) is reply["error"]["stop"]
    assert (reply["metrics"] is not None) is (kind is not None)
    assert reply["cost"] == {"api_calls": calls, "reused_answer": False}
    assert (reply["raw_json_path"] is not None) is bool(calls)  # an answer that was paid for is never lost
    assert link(name).rpartition("/")[2] in reply.message
    assert desk.sandbox.base_url not in reply.message
    assert len(reply.message) < 700
    assert not desk.videos
    assert not desk.parts


async def test_an_answer_without_a_post_is_reused_too_and_says_since_when(desk: Desk) -> None:
    await desk.one(link("private"))
    reply = await desk.one(link("private"))
    assert reply["cost"] == {"api_calls": 0, "reused_answer": True}
    assert "UTC; it cost nothing now. Set refresh" in reply.message
    assert len(desk.asked) == 1


async def test_a_wait_that_tikhub_asked_for_is_handed_on(desk: Desk) -> None:
    assert (await desk.one(link("busy")))["error"]["retry_after_s"] == 3600


async def test_a_link_that_has_expired_costs_one_more_call_and_never_two(desk: Desk) -> None:
    reply = await desk.one(link("expired"))
    assert (reply["status"], reply["cost"]["api_calls"], len(desk.asked)) == ("ok", 2, 2)


async def test_links_to_two_posts_are_refused_by_name_for_free(desk: Desk) -> None:
    reply = await desk.one(f"{link('tiktok')} and {link('douyin')}")
    assert reply.is_error
    assert reply.code == "invalid_input"
    assert link("tiktok") in reply.message
    assert link("douyin") in reply.message
    assert not desk.asked


async def test_two_links_to_one_post_are_one(desk: Desk) -> None:
    reply = await desk.one(f"{link('tiktok')} {link('tiktok')}?lang=en https://example.com/")
    assert reply["status"] == "ok"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "no link at all",
        "https://example.com/@a/video/7000000000000000001",
        "https://www.tiktok.com/@somebody",
        "https://www.tiktok.com/@somebody/live",
        "https://live.douyin.com/123456789",
        "https://www.tiktok.com/music/a-song-7000000000000000001",
        "https://douyin.com.evil.example/video/7000000000000000001",
        "https://user:word@www.douyin.com/video/7000000000000000001",
        "file:///etc/passwd",
        "http://127.0.0.1/video/7000000000000000001",
        "https://www.tiktok.com/" + "x" * 5_000,
        "长" * 5_000,
    ],
)
async def test_a_link_that_cannot_be_used_is_free_of_charge(desk: Desk, url: str) -> None:
    reply = await desk.one(url)
    assert reply.is_error
    assert reply.code == "unsupported_link"
    assert reply["cost"] == {"api_calls": 0, "reused_answer": False}
    assert len(reply.text.encode()) < 4_000
    assert not desk.asked
    assert not desk.root.exists()


@pytest.mark.parametrize("given", ["clips", "a/b c/日本", "~/Movies", "{temp}/x", "{root}", "{root}/videos"])
async def test_the_file_goes_to_an_output_dir_inside_and_the_answer_stays_in_the_root(
    desk: Desk, tmp_path: Path, given: str
) -> None:
    places = {"{root}": desk.root, "{temp}": tmp_path / "temp", "~": tmp_path / "home"}
    expected = desk.root / given
    for name, place in places.items():
        if given.startswith(name):
            expected, given = Path(given.replace(name, str(place))), given.replace("{temp}", str(tmp_path / "temp"))
    reply = await desk.one(link("tiktok"), output_dir=given.replace("{root}", str(desk.root)))
    assert Path(reply["file"]["path"]).parent == expected
    assert Path(reply["raw_json_path"]).parent == desk.root / "raw"


OUTSIDE = ["/etc", "../elsewhere", "a/../../elsewhere", "{tmp}/elsewhere", "{tmp}/root_evil", "{tmp}", "way_out/x"]
OUTSIDE += [
    ".hidden",
    "a/.ssh/b",
    "~root/x",
    "$HOME/x",
    "%2e%2e/x",
    "file:///x",
    "-rf",
    "C:\\x",
    "\\\\srv\\x",
    "/dev/shm",
]
OUTSIDE += ["a\0b", "x" * 5_000, "~/.ssh", "/proc/self/cwd"]


@pytest.mark.parametrize("given", OUTSIDE, ids=[given[:20] for given in OUTSIDE])
async def test_an_output_dir_outside_is_refused_before_anything_is_made_or_paid(
    desk: Desk, tmp_path: Path, given: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    desk.root.mkdir()
    (desk.root / "way_out").symlink_to(tmp_path / "elsewhere")
    before = listing(tmp_path)
    for tool, argument in (("download_video", link("tiktok")), ("batch_download", [link("tiktok")])):
        name = "url" if tool == "download_video" else "urls"
        reply: mcp_session.Reply = await desk.ask(
            tool, **{name: argument, "output_dir": given.replace("{tmp}", str(tmp_path))}
        )
        assert reply.is_error
        assert reply.code == "path_not_allowed"
        assert "Allowed are" in reply.message
    assert listing(tmp_path) == before
    assert not desk.asked


async def test_an_allowed_folder_is_allowed(desk: Desk, tmp_path: Path) -> None:
    desk.environ["TIKHUB_ALLOWED_DIRS"] = os.pathsep.join([str(tmp_path / "nowhere"), str(tmp_path / "shared")])
    reply = await desk.one(link("tiktok"), output_dir=str(tmp_path / "shared" / "clips"))
    assert Path(reply["file"]["path"]).parent == tmp_path / "shared" / "clips"


@pytest.mark.both_eras
@pytest.mark.parametrize("value", ["no such thing", "${workspaceFolder}/x"])
@pytest.mark.parametrize("setting", ["TIKHUB_BASE_URL", "TIKHUB_CALL_SECONDS", "TIKHUB_OUTPUT_DIR"])
async def test_a_setting_that_cannot_be_used_is_named_in_the_reply(desk: Desk, setting: str, value: str) -> None:
    desk.environ[setting] = value
    reply = await desk.one(link("tiktok"))
    assert reply.code == "invalid_input"
    assert setting in reply.message


async def test_raw_answers_and_media_never_travel_in_a_reply(desk: Desk) -> None:
    reply: Json = await desk.one(link("tiktok"))
    for inside in ("cache_url", "url_list", "play_addr", desk.sandbox.base_url):
        assert inside not in reply.text
