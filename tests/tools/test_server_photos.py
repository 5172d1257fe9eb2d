"""Photo posts, and music, covers and captions beside videos, through a client and the sandbox."""

import asyncio
import errno
import json
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.mcp_session import MEDIA, Desk, Reply, Reword, content, shorn, until
from tikhub_mcp.media import transfer
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import link
from tikhub_mcp.storage import atomic

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def names(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.jpg"))


def media(desk: Desk) -> int:
    """How many files the CDN was asked for since the last time."""
    count = len(desk.sandbox.media_requests)
    desk.sandbox.media_requests.clear()
    return count


async def test_a_photo_post_becomes_a_folder_of_pictures_with_a_receipt(desk: Desk) -> None:
    reply = await desk.one(link("photos"))
    assert (reply["status"], reply["kind"], reply["file"], reply.is_error) == ("ok", "images", None, False)
    photos = reply["photos"]
    folder = Path(photos["dir"])
    assert folder.parent == desk.root / "photos"
    assert folder.name.startswith("tiktok_")
    assert folder.name.endswith(f"_{reply['video_id']}")
    assert names(folder) == [*(f"{number:02}.jpg" for number in range(1, 10)), "post.json"]
    assert (photos["count"], photos["formats"], photos["complete"], photos["missing"]) == (9, {"jpeg": 9}, True, [])
    assert (photos["clips"], photos["size_bytes"]) == (0, size_of(folder))
    assert photos["files"][0] == {
        "n": 1,
        "role": "picture",
        "name": "01.jpg",
        "size_bytes": len(content(folder / "01.jpg")),
        "format": "jpeg",
        "width": 96,
        "height": 128,
    }
    assert len(photos["files"]) == 8
    assert len(json.dumps(reply.said, ensure_ascii=False).encode()) < 4000
    assert not any("water" in request.path for request in desk.sandbox.media_requests)
    assert media(desk) == 9
    again = await desk.one(link("photos"))
    assert (again["photos"], again["cost"]) == (photos | {"reused": True}, {"api_calls": 0, "reused_answer": True})
    assert (media(desk), desk.parts) == (0, [])


@pytest.mark.parametrize(("quality", "extension"), [("compatible", "jpg"), ("best", "heic"), ("smallest", "jpg")])
async def test_the_quality_of_pictures_is_in_the_name_of_the_folder(desk: Desk, quality: str, extension: str) -> None:
    reply = await desk.one(link("album"), quality=quality, output_dir=str(desk.root / "here"))
    folder = Path(reply["photos"]["dir"])
    assert folder.parent == desk.root / "here"
    assert folder.name.endswith(reply["video_id"] if quality == "compatible" else f"{reply['video_id']}.{quality}")
    assert names(folder)[0] == f"01.{extension}"


async def test_a_post_of_35_pictures_and_one_that_moves(desk: Desk) -> None:
    many = await desk.one(link("many_photos"))
    assert (many["photos"]["count"], names(many["photos"]["dir"])[-2:]) == (35, ["35.jpg", "post.json"])
    many = await desk.one(link("many_photos"), include="music")
    assert [file["role"] for file in many["photos"]["files"]] == [*["picture"] * 7, "music"]
    moving = await desk.one(link("moving_photos"))
    assert names(moving["photos"]["dir"]) == ["01.jpg", "02.jpg", "02.mp4", "03.jpg", "03.mp4", "04.jpg", "post.json"]
    assert (moving["photos"]["clips"], moving["photos"]["complete"]) == (2, True)


@pytest.mark.parametrize("name", ["album", "photos_with_hidden_music"])
async def test_music_of_a_photo_post_is_saved_in_its_folder_and_never_as_a_video(desk: Desk, name: str) -> None:
    without = await desk.one(link(name))
    assert "music.m4a" not in names(without["photos"]["dir"])
    reply = await desk.one(link(name), include="music, cover")
    assert "music.m4a" in names(reply["photos"]["dir"])
    assert reply["photos"]["files"][-1]["role"] == "music"
    assert reply["metrics"]["notes"]["cover"] == "a photo post has none"
    assert (reply["extras"], desk.videos, reply["cost"]["api_calls"]) == (None, [], 0)


async def test_a_refused_picture_is_fetched_alone_by_a_later_call_without_paying(desk: Desk) -> None:
    reply = await desk.one(link("broken_photo"))
    assert (reply["status"], reply.code, reply["error"]["retryable"]) == ("failed", "media_unavailable", True)
    assert (reply["photos"]["missing"], reply["photos"]["complete"]) == ([2], False)
    assert names(reply["photos"]["dir"]) == ["01.jpg", "03.jpg", "post.json"]
    assert desk.sandbox.base_url not in reply.message
    media(desk)
    desk.sandbox.repaired = True
    again = await desk.one(link("broken_photo"))
    assert (again["status"], again["photos"]["missing"], again["cost"]["api_calls"]) == ("ok", [], 0)
    assert (media(desk), names(again["photos"]["dir"])[1]) == (1, "02.jpg")


PICTURES = "01.jpg 02.jpg 03.jpg "
# By the names of the sandbox: status, code, what is there, and how many warnings there are.
BADLY_SERVED = {
    "picture_first_refused": ("ok", None, "01.webp 02.webp 03.webp music.m4a", 3),
    "picture_unsized": ("ok", None, PICTURES + "music.m4a", 0),
    "clip_first_refused": ("ok", None, "01.jpg 01.mp4 02.jpg 03.jpg 03.mp4 music.m4a", 0),
    "clip_unsized": ("ok", None, "01.jpg 01.mp4 02.jpg 03.jpg 03.mp4 music.m4a", 2),
    "music_first_refused": ("ok", None, PICTURES + "music.m4a", 0),
    "music_unsized": ("ok", None, PICTURES + "music.m4a", 1),
    "captions_first_refused": ("ok", None, "music cover captions captions", 0),
    "captions_unsized": ("ok", None, "music cover captions captions", 2),
    "captions_short": ("ok", None, "music cover captions captions", 0),  # nothing tells that their end is missing
    "cover_first_refused": ("ok", None, "music cover captions captions", 0),
    "cover_unsized": ("ok", None, "music cover captions captions", 0),
    **{f"picture_{how}": ("failed", "media_unavailable", "music.m4a", 0) for how in ("refused", "page", "short")},
    **{
        f"clip_{how}": ("failed", "media_unavailable", PICTURES + "music.m4a", 0)
        for how in ("refused", "page", "short")
    },
    **{f"music_{how}": ("ok", None, PICTURES.strip(), 1) for how in ("refused", "page", "short")},
    **{f"captions_{how}": ("ok", None, "music cover", 2) for how in ("refused", "page")},
    **{f"cover_{how}": ("ok", None, "music captions captions", 1) for how in ("refused", "page", "short")},
    "heic_cover": ("ok", None, "music captions captions", 0),
    "photo_without_link": ("failed", "media_unavailable", "01.jpg 03.jpg music.m4a", 0),
    "encrypted_clip": ("failed", "media_unavailable", PICTURES + "music.m4a", 0),
    "expired_photos_always": ("failed", "media_unavailable", "", 0),
    "wrong_photos": ("failed", "wrong_post", "", 0),
}


async def test_of_what_is_badly_served_the_whole_files_are_kept_and_the_rest_is_said(desk: Desk) -> None:
    async def found(name: str) -> tuple[Json, ...]:
        reply = await desk.one(link(name), include="music,cover,captions")
        photos, file = reply["photos"] or {}, reply["file"] or {}
        there = [entry["name"] for entry in photos.get("files", ())] or [
            extra["role"] for extra in reply["extras"] or ()
        ]
        assert reply["cost"]["api_calls"] == 1 + name.startswith("expired")
        assert ("the same call again" in reply.message if reply.code else False) == bool(
            reply.code and there and reply["error"]["retryable"]
        )
        return (
            reply["status"],
            reply.code,
            " ".join(there),
            len(photos.get("warnings", ())) + len(file.get("warnings", ())),
        )

    replies = await asyncio.gather(*map(found, BADLY_SERVED))
    assert dict(zip(BADLY_SERVED, replies, strict=True)) == BADLY_SERVED
    assert desk.parts == []


async def test_links_that_have_expired_are_renewed_once_for_all_pictures(desk: Desk) -> None:
    reply = await desk.one(link("expired_photos"))
    assert (reply["status"], reply["cost"]["api_calls"]) == ("ok", 2)
    assert (await desk.one(link("expired_photos")))["cost"]["api_calls"] == 0


async def test_beside_a_video_stand_its_music_its_cover_and_its_captions(desk: Desk) -> None:
    reply = await desk.one(link("tiktok"), include=["captions", "cover", "music"])
    stem = Path(reply["file"]["path"]).stem
    found = [(extra["role"], Path(extra["path"]).name, extra["language"]) for extra in reply["extras"]]
    assert found == [
        ("music", f"{stem}.m4a", None),
        ("cover", f"{stem}.cover.jpg", None),
        ("captions", f"{stem}.en.vtt", "en"),
        ("captions", f"{stem}.de.vtt", "de"),
    ]
    assert names(desk.root / "videos") == sorted([f"{stem}.mp4", *(name for _, name, _ in found)])
    assert reply["transcript"] == {
        "language": "en",
        "text": "Paper boats float for about a minute.",
        "truncated": False,
        "auto_generated": True,
    }
    assert reply["file"]["warnings"] == []
    media(desk)
    again = await desk.one(link("tiktok"), include='["captions","cover","music"]')
    assert (again["extras"], again["transcript"], media(desk)) == (reply["extras"], reply["transcript"], 0)
    batch = await desk.batch([link("tiktok"), link("douyin")], include=["captions", "cover", "music"])
    assert [Path(batch["output_dir"], name) for name in batch["results"][0]["extras"]] == [
        Path(extra["path"]) for extra in reply["extras"]
    ]
    assert "extras" not in (await desk.batch([link("tiktok")]))["results"][0]


async def test_captions_alone_are_the_cheapest_call(desk: Desk) -> None:
    reply = await desk.one(link("tiktok"), metrics_only=True, include=["captions", "music"])
    assert (reply["status"], reply["file"], desk.videos) == ("ok", None, [])
    assert reply["transcript"]["text"].startswith("Paper boats")
    assert (media(desk), [extra["role"] for extra in reply["extras"]]) == (2, ["captions"] * 2)
    assert reply["metrics"]["notes"]["music"] == "metrics_only fetches captions alone"


async def test_what_a_post_does_not_have_is_a_note_and_no_failure(desk: Desk) -> None:
    reply = await desk.one(link("douyin"), include="captions")
    assert (reply["status"], reply["extras"], reply["transcript"]) == ("ok", None, None)
    assert reply["metrics"]["notes"]["captions"] == "not in the answer"


async def test_an_extra_that_cannot_be_had_is_a_warning(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.sandbox, "_files", {**desk.sandbox._files, ".vtt": desk.sandbox._files[".jpeg"]})
    reply = await desk.one(link("tiktok"), include="captions")
    assert (reply["status"], reply["extras"]) == ("ok", None)
    assert [warning[:32] for warning in reply["file"]["warnings"]] == [
        "The captions in en of post 70000",
        "The captions in de of post 70000",
    ]
    reply = await desk.one(link("tiktok"), include="captions", metrics_only=True)
    assert (reply["status"], reply["note"][:18]) == ("ok", "The captions in en")


async def test_a_batch_names_the_folder_the_sum_and_the_number_of_pictures(desk: Desk) -> None:
    links = [link("photos"), link("tiktok"), link("broken_photo"), link("no_photos")]
    plan = await desk.batch(links, dry_run=True)
    assert (plan["on_disk"], plan["calls_needed"]) == (0, 4)
    reply = await desk.batch(links)
    assert reply.statuses == ["ok", "ok", "failed", "failed"]
    assert reply["failed_by_code"] == {"media_unavailable": 1, "not_a_video": 1}
    photos, video, broken, _ = reply["results"]
    assert (photos["photos_count"], video["photos_count"], broken["photos_count"]) == (9, None, 3)
    folder = Path(photos["path"])
    assert photos["size_bytes"] == size_of(folder)
    assert reply["retry_urls"] == [link("broken_photo")]
    plan = await desk.batch(links, dry_run=True)
    assert (plan["on_disk"], plan["calls_needed"]) == (2, 0)


@pytest.mark.parametrize("include", ["video", ["music", "subtitles"], [5], {"music": True}])
async def test_an_unknown_extra_is_refused_by_name(desk: Desk, include: Json) -> None:
    reply = await desk.one(link("tiktok"), include=include)
    assert (reply.code, "include" in reply.message, desk.asked) == ("invalid_input", True, [])


async def test_max_workers_limits_the_transfers_and_ten_are_most(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.sandbox.media_latency = 0.05
    waiting, most = [0], [0]
    pause = desk.sandbox._pause

    async def counting(seconds: float) -> None:
        waiting[0] += seconds == desk.sandbox.media_latency
        most[0] = max(most[0], waiting[0])
        await pause(seconds)
        waiting[0] -= seconds == desk.sandbox.media_latency

    monkeypatch.setattr(desk.sandbox, "_pause", counting)
    for workers, folder, expected in ((2, "a", 2), (10, "b", 10)):
        most[0] = 0
        await desk.batch([link("many_photos")], max_workers=workers, output_dir=str(desk.root / folder))
        assert most[0] == expected


async def test_a_cancelled_call_leaves_no_folder(desk: Desk) -> None:
    desk.sandbox.media_bytes_per_second = 300
    task = asyncio.create_task(desk.one(link("photos")))
    await until(lambda: len(desk.sandbox.media_requests) == 9)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not desk.parts)
    assert names(desk.root / "photos") == []


async def test_a_disk_without_room_for_all_pictures_leaves_none_and_later_they_come_without_paying(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, write = [5 * len(content(MEDIA / "photo.jpeg"))], atomic.write_all

    def write_to_a_small_disk(file: BinaryIO, piece: bytes) -> None:
        room[0] -= len(piece)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, piece)

    monkeypatch.setattr(transfer, "write_all", write_to_a_small_disk)
    reply = await desk.one(link("photos"))
    assert (reply.code, reply["photos"], names(desk.root / "photos")) == ("disk_full", None, [])
    room[0] = 1 << 20
    again = await desk.one(link("photos"))
    assert (again["status"], again["cost"]["api_calls"], len(desk.asked)) == ("ok", 0, 1)


def told(reply: Reply) -> int:
    return len(json.dumps({**reply.said, "transcript": None}, ensure_ascii=False).encode())


LONG = "纸船在河上漂了大约一分钟"


@pytest.mark.parametrize("name", ["many_photos", "moving_photos", "picture_refused", "picture_first_refused", "tiktok"])
async def test_a_reply_stays_small_with_long_words_and_a_long_folder(desk: Desk, reword: Reword, name: str) -> None:
    reword(desc=LONG * 50, author={"nickname": LONG * 6}, video={"cla_info": {"caption_infos": captions(desk, 30)}})
    if name in ("many_photos", "picture_refused", "picture_first_refused"):
        reword(image_post_info={"title": LONG * 9})
    folder = desk.root / ("纸" * 60) / ("船" * 60)
    reply = await desk.one(link(name), include="music,cover,captions", output_dir=str(folder))
    assert reply.code == ("media_unavailable" if name == "picture_refused" else None)
    assert told(reply) <= 4000
    assert reply["title"].startswith(LONG)
    [item] = (await desk.batch([link(name)], include="music,cover,captions", output_dir=str(folder)))["results"]
    assert len(json.dumps(shorn(item), ensure_ascii=False).encode()) <= 4000


def captions(desk: Desk, count: int) -> list[Json]:
    """Captions in many languages, none of which can be had."""
    url = f"{desk.sandbox.base_url}/no-such-file.vtt"
    return [{"language_code": f"l{number}", "url_list": [url], "is_original_caption": True} for number in range(count)]


async def test_a_reply_stays_small_with_a_long_folder(desk: Desk) -> None:
    folder = desk.root / ("纸" * 60) / ("船" * 60) / ("河" * 60)
    reply = await desk.one(link("tiktok"), include="captions,cover,music", output_dir=str(folder))
    assert told(reply) <= 4000
    assert "Not all files are named here" in reply["note"]
    assert len(names(folder)) == 5
