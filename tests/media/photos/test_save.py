"""save.py: the folder of a photo post, from real pictures on a server that misbehaves."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tests.support.downloads import ENCRYPTED, H266, MUSIC, PAGE, QUICK, VIDEO
from tests.support.fault_server import Act, Faulty
from tests.support.make_pictures import PICTURES
from tests.support.photo_posts import GOOD, JPEG, as_type, picture, post, save, saving
from tikhub_mcp.errors import DiskFull, MediaUnavailable, TooLarge
from tikhub_mcp.media import transfer
from tikhub_mcp.media.photos.folder import complete_folders, find_folder
from tikhub_mcp.media.photos.receipt import read_receipt
from tikhub_mcp.media.photos.save import MAX_WARNINGS, save_photos
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.renditions import Rendition

WEBP, PNG = (PICTURES[name]() for name in ("WebP lossy", "PNG"))
FOLDER = "tiktok_Ada_Paper_7500000000000000003"
REFUSED = Act(status=403)


def pictures(server: Faulty, count: int, **acts: Act) -> list[Json]:
    return [picture(server.on(f"/{n}.jpeg", acts.get(f"n{n}", GOOD))) for n in range(1, count + 1)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def asked(server: Faulty) -> list[str]:
    paths = sorted(request.path for request in server.requests)
    server.requests.clear()
    return paths


def test_a_folder_has_every_picture_clip_and_music_and_a_receipt(server: Faulty, tmp_path: Path) -> None:
    clip, music = server.on("/clip", Act(body=VIDEO)), server.on("/music.mp3", as_type(MUSIC, "audio/mp4"))
    wanted = post(
        picture(server.on("/1.jpeg", GOOD)),
        picture(server.on("/2.jpeg", as_type(WEBP)), clip=clip),
        music={"play_url": {"url_list": [music]}},
    )
    saved = save(tmp_path, wanted, music=True)
    assert (saved.folder, saved.count, saved.missing, saved.failure, saved.reused) == (
        tmp_path / FOLDER,
        2,
        (),
        None,
        False,
    )
    assert names(tmp_path) == [FOLDER]
    assert names(saved.folder) == ["01.jpg", "02.mp4", "02.webp", "music.m4a", "post.json"]
    assert [(file.role, file.n, file.name, file.format) for file in saved.files] == [
        ("picture", 1, "01.jpg", "jpeg"),
        ("picture", 2, "02.webp", "webp"),
        ("clip", 2, "02.mp4", "mp4"),
        ("music", None, "music.m4a", "m4a"),
    ]
    assert [(file.width, file.height) for file in saved.files] == [(117, 83), (117, 83), (144, 256), (None, None)]
    receipt = json.loads((saved.folder / "post.json").read_text())
    assert (receipt["complete"], receipt["missing"]) == (True, [])
    for file in receipt["files"]:
        content = (saved.folder / file["name"]).read_bytes()
        assert (file["size_bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert asked(server) == ["/1.jpeg", "/2.jpeg", "/clip", "/music.mp3"], (
        "the extension in a link is no reason to ask again"
    )


def test_what_is_there_is_used_without_a_request(server: Faulty, tmp_path: Path) -> None:
    wanted = post(*pictures(server, 3))
    first, before = save(tmp_path, wanted), (tmp_path / FOLDER / "post.json").stat().st_ino
    asked(server)
    again = save(tmp_path, wanted)
    assert again == replace(first, reused=True)
    assert (asked(server), (tmp_path / FOLDER / "post.json").stat().st_ino) == ([], before)
    assert save(tmp_path, replace(wanted, author="New Name")).folder == first.folder
    assert complete_folders(tmp_path, "compatible")("tiktok", wanted.video_id)
    assert not complete_folders(tmp_path, "best")("tiktok", wanted.video_id)


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, *(lambda path, body=body: path.write_bytes(body) for body in (JPEG[:-9], VIDEO, WEBP))],
)
def test_a_file_that_is_damaged_or_gone_is_fetched_again_alone(
    server: Faulty, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    wanted = post(*pictures(server, 3))
    folder = save(tmp_path, wanted).folder
    asked(server)
    damage(folder / "02.jpg")
    assert not save(tmp_path, wanted).reused
    assert (asked(server), (folder / "02.jpg").read_bytes()) == (["/2.jpeg"], JPEG)


@pytest.mark.parametrize("edited", [PICTURES["JPEG progressive"](), JPEG.replace(b"JFIF\0\1\1", b"JFIF\0\1\2")])
def test_a_file_that_was_changed_and_is_whole_stays(server: Faulty, tmp_path: Path, edited: bytes) -> None:
    wanted = post(*pictures(server, 2))
    folder = save(tmp_path, wanted).folder
    asked(server)
    (folder / "02.jpg").write_bytes(edited)
    assert save(tmp_path, wanted).files[1].sha256 == hashlib.sha256(edited).hexdigest()
    assert (asked(server), (folder / "02.jpg").read_bytes()) == ([], edited)


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_damaged_file_goes_when_another_format_takes_its_place(
    server: Faulty, tmp_path: Path, interrupted: bool
) -> None:
    wanted = post(*pictures(server, 2))
    folder = save(tmp_path, wanted).folder
    (folder / "01.png").write_bytes(PNG)  # of the user
    (folder / "02.png").write_bytes(PNG[:-9])  # as well, although it is of a form that is not understood
    (folder / "02.jpg").write_bytes(JPEG[:-9])
    (folder / "02.heic").symlink_to(folder / "02.jpg")
    if interrupted:  # before the receipt
        (folder / "02.webp").write_bytes(WEBP)
    server.on("/2.jpeg", as_type(WEBP, "image/webp"))
    assert [file.name for file in save(tmp_path, wanted).files] == ["01.jpg", "02.webp"]
    assert names(folder) == ["01.jpg", "01.png", "02.heic", "02.png", "02.webp", "post.json"]


def test_a_damaged_file_stays_where_nothing_takes_its_place(server: Faulty, tmp_path: Path) -> None:
    wanted = post(*pictures(server, 2))
    folder = save(tmp_path, wanted).folder
    (folder / "02.jpg").write_bytes(JPEG[:-9])
    server.on("/2.jpeg", REFUSED)
    assert save(tmp_path, wanted).missing == (2,)
    assert (folder / "02.jpg").read_bytes() == JPEG[:-9]


def test_a_picture_that_every_mirror_refuses_is_fetched_alone_by_a_later_call(server: Faulty, tmp_path: Path) -> None:
    wanted = post(*pictures(server, 3, n2=REFUSED))
    saved = save(tmp_path, wanted)
    assert (saved.missing, names(saved.folder)) == ((2,), ["01.jpg", "03.jpg", "post.json"])
    assert not complete_folders(tmp_path, "compatible")("tiktok", wanted.video_id)
    assert isinstance(saved.failure, MediaUnavailable)
    assert saved.failure.retryable
    assert saved.failure.message == (
        f"Picture 2 of post {wanted.video_id} could not be downloaded (mirrors: 1, attempts: 2): the CDN answered HTTP "
        "403. Not complete of the 3 pictures: 1 (numbers 2). "
        "What came is kept: the same call again fetches only the rest."
    )
    asked(server)
    server.on("/2.jpeg", GOOD)
    again = save(tmp_path, wanted)
    assert (again.missing, again.failure, asked(server)) == ((), None, ["/2.jpeg"])
    receipt = read_receipt(again.folder)
    assert receipt is not None
    assert (receipt.complete, names(tmp_path)) == (True, [FOLDER])


def test_a_file_that_is_newer_than_the_receipt_is_not_asked_for_again(server: Faulty, tmp_path: Path) -> None:
    wanted = post(*pictures(server, 2, n2=REFUSED))
    folder = save(tmp_path, wanted).folder
    (folder / "02.jpg").write_bytes(JPEG)  # as where the process was killed before it wrote the new receipt
    asked(server)
    assert (save(tmp_path, wanted).missing, asked(server)) == ((), [])


def test_where_nothing_came_there_is_no_folder(server: Faulty, tmp_path: Path) -> None:
    with pytest.raises(MediaUnavailable, match=r"Picture 1 of .* complete of the 2 pictures: 2 \(numbers 1, 2\)\.$"):
        save(tmp_path, post(*pictures(server, 2, n1=REFUSED, n2=REFUSED)))
    assert names(tmp_path) == []


def test_a_picture_without_a_clean_link_is_missing_and_another_call_does_not_help(
    server: Faulty, tmp_path: Path
) -> None:
    saved = save(tmp_path, post(*pictures(server, 1), {"owner_watermark_image": {"url_list": [server.on("/w", GOOD)]}}))
    assert saved.failure is not None
    assert (saved.missing, saved.failure.retryable, asked(server)) == ((2,), False, ["/1.jpeg"])
    (failure,) = filter(None, [save(tmp_path, post(*pictures(server, 2, n1=REFUSED), {})).failure])
    assert failure.retryable


@pytest.mark.parametrize(
    "instead",
    [
        Act(body=PAGE),
        as_type(PAGE),
        as_type(b'{"a": 1}', "application/json"),
        as_type(VIDEO),
        as_type(JPEG[:-99]),
        as_type(JPEG, "video/mp4"),
        Act(body=VIDEO),
    ],
)
def test_what_is_no_picture_is_refused_and_the_next_mirror_asked(server: Faulty, tmp_path: Path, instead: Act) -> None:
    urls = [server.on("/a.jpeg", instead), server.on("/b.jpeg", GOOD)]
    assert save(tmp_path, post(picture(*urls))).missing == ()
    assert asked(server) == ["/a.jpeg", "/b.jpeg"]


def test_another_format_takes_the_place_of_a_dead_link_and_a_warning_says_so(server: Faulty, tmp_path: Path) -> None:
    wanted = post(picture(server.on("/a.webp", as_type(WEBP, "image/webp")), server.on("/a.jpeg", REFUSED)))
    for _ in range(2):
        (warning,) = save(tmp_path, wanted).warnings
        assert warning == "01.webp: this is not the first choice (jpeg, 117x83): the CDN answered HTTP 403"
    urls = server.on("/a.webp", as_type(WEBP, "image/webp")), server.on("/a.jpeg", REFUSED)
    assert len(save(tmp_path, post(*[picture(*urls)] * 6)).warnings) == MAX_WARNINGS


def test_music_in_the_place_of_a_moving_half_is_no_clip_and_is_asked_for_once(server: Faulty, tmp_path: Path) -> None:
    clip = server.on("/clip", as_type(MUSIC, "audio/mp4"))
    wanted = post(picture(server.on("/1.jpeg", GOOD), clip=clip))
    for expected in (["/1.jpeg", "/clip"], []):
        saved = save(tmp_path, wanted)
        assert (saved.missing, names(saved.folder), asked(server)) == ((), ["01.jpg", "post.json"], expected)


@pytest.mark.parametrize(
    ("instead", "final"),
    [(REFUSED, False), (Act(body=ENCRYPTED), True), (Act(body=H266), True), (Act(body=PAGE), False)],
)
def test_a_clip_that_cannot_be_had_makes_its_picture_incomplete(
    server: Faulty, tmp_path: Path, instead: Act, final: bool
) -> None:
    wanted = post(picture(server.on("/1.jpeg", GOOD), clip=server.on("/clip", instead)))
    saved = save(tmp_path, wanted)
    assert (saved.missing, names(saved.folder)) == ((1,), ["01.jpg", "post.json"])
    assert saved.failure is not None
    assert saved.failure.refused_content == final  # where it is, new links are not paid for


def test_music_that_is_wanted_later_is_added_and_stays_in_the_receipt(server: Faulty, tmp_path: Path) -> None:
    music = {"play_url": {"url_list": [server.on("/music", REFUSED, REFUSED, as_type(MUSIC, "audio/mp4"))]}}
    wanted = post(*pictures(server, 1), music=music)
    save(tmp_path, wanted)
    refused = save(tmp_path, wanted, music=True)
    assert (refused.missing, refused.warnings[0][:12], refused.failure) == ((), "The music of", None)
    assert [file.role for file in save(tmp_path, wanted, music=True).files] == ["picture", "music"]
    assert [file.role for file in save(tmp_path, wanted).files] == ["picture", "music"]


def test_a_post_whose_pictures_have_changed_gets_a_folder_of_its_own(server: Faulty, tmp_path: Path) -> None:
    old, new = post(*pictures(server, 2)), post(*pictures(server, 3))
    folders = [save(tmp_path, each).folder.name for each in (old, new, old, new)]
    assert folders == [FOLDER, f"{FOLDER}_2"] * 2
    assert save(tmp_path, old, "best").folder.name == f"{FOLDER}.best"


def test_pictures_without_a_receipt_may_be_others_and_stay_as_they_are(server: Faulty, tmp_path: Path) -> None:
    folder = save(tmp_path, post(*pictures(server, 2))).folder
    (folder / "post.json").write_text("{")
    asked(server)
    saved = save(tmp_path, post(*pictures(server, 3)))
    assert (saved.folder.name, asked(server)) == (f"{FOLDER}_2", ["/1.jpeg", "/2.jpeg", "/3.jpeg"])
    assert (names(folder), (folder / "post.json").read_text()) == (["01.jpg", "02.jpg", "post.json"], "{")


@pytest.mark.parametrize("put", [lambda path, _: path.touch(), Path.symlink_to])
def test_where_the_name_is_taken_the_folder_gets_another_one(
    server: Faulty, tmp_path: Path, put: Callable[[Path, Path], object]
) -> None:
    wanted = post(*pictures(server, 2))
    elsewhere = save(tmp_path, wanted).folder
    (root := tmp_path / "photos").mkdir()
    put(root / FOLDER, elsewhere)
    asked(server)
    for expected in (["/1.jpeg", "/2.jpeg"], []):
        assert (save(root, wanted).folder.name, asked(server)) == (f"{FOLDER}_2", expected)


@pytest.mark.parametrize("name", ["../02.jpg", "/etc/passwd", "02.jpg/../../x", ".02.jpg", "a.jpg"])
def test_a_receipt_with_a_name_outside_its_folder_is_no_receipt(server: Faulty, tmp_path: Path, name: str) -> None:
    folder = save(tmp_path, post(*pictures(server, 2))).folder
    path = folder / "post.json"
    path.write_text(path.read_text().replace("02.jpg", name))
    assert read_receipt(folder) is None


def test_the_limit_is_for_all_files_of_a_post_together(server: Faulty, tmp_path: Path) -> None:
    wanted = post(*pictures(server, 3))
    with pytest.raises(
        TooLarge, match=r"The files of post \d+ have more than [\d,]+ bytes together \(TIKHUB_MAX_BYTES\)"
    ):
        save(tmp_path, wanted, most=3 * len(JPEG) - 1)
    assert names(tmp_path) == []
    assert save(tmp_path, wanted, most=3 * len(JPEG)).missing == ()
    added = post(*pictures(server, 3), music={"play_url": {"url_list": [server.on("/m", as_type(MUSIC, "audio/mp4"))]}})
    with pytest.raises(TooLarge):
        save(tmp_path, added, music=True, most=3 * len(JPEG) + 100)
    assert len(names(tmp_path / FOLDER)) == 4


def test_what_is_not_kept_does_not_count(server: Faulty, tmp_path: Path) -> None:
    clip = server.on("/clip", as_type(MUSIC, "audio/mp4"))
    late = server.on("/2.jpeg", replace(GOOD, wait=0.15))
    wanted = post(picture(server.on("/1.jpeg", GOOD), clip=clip), picture(late))
    assert save(tmp_path, wanted, most=2 * len(JPEG) + len(MUSIC) - 1).missing == ()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_picture_that_is_far_too_large_is_none(
    server: Faulty, tmp_path: Path, framing: Literal["length", "chunked"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(transfer.MAX_KIND_BYTES, "picture", len(JPEG) - 1)
    with pytest.raises(MediaUnavailable, match=r"it has more than the [\d,]+ bytes of a picture"):
        save(tmp_path, post(picture(server.on("/1.jpeg", replace(GOOD, framing=framing)))))


def test_a_picture_that_claims_a_size_beyond_every_limit_does_not_take_the_others_along(
    server: Faulty, tmp_path: Path
) -> None:
    saved = save(tmp_path, post(*pictures(server, 2, n2=replace(GOOD, length=str(QUICK.largest + 1)))))
    assert (saved.missing, names(saved.folder)) == ((2,), ["01.jpg", "post.json"])


@pytest.mark.parametrize("existing", [False, True])
def test_a_cancellation_leaves_whole_files_only(server: Faulty, tmp_path: Path, existing: bool) -> None:
    if existing:
        save(tmp_path, post(*pictures(server, 3, n2=REFUSED)))
    before = sorted(tmp_path.rglob("*"))
    wanted = post(*pictures(server, 3, n2=Act(body=JPEG, headers=GOOD.headers, cut=999, end="stall")))

    async def run() -> None:
        stalls = asyncio.Event()
        task = asyncio.create_task(
            saving(tmp_path, wanted, received=lambda size: stalls.set() if size == 999 else None)
        )
        await stalls.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(run(), 10))
    assert sorted(tmp_path.rglob("*")) == before


def test_the_pictures_are_fetched_side_by_side(tmp_path: Path) -> None:
    everyone, waiting = asyncio.Event(), list[Path]()

    async def fetch(
        files: tuple[Rendition, ...], target: Path, staging: Path, name: str, progress: Callable[[int], None]
    ) -> Saved:
        waiting.append(target)
        if len(waiting) == 35:
            everyone.set()
        await everyone.wait()
        raise MediaUnavailable(f"{name} could not be downloaded.")

    wanted = post(*(picture(f"https://img.example/{number}.jpeg") for number in range(35)))

    async def run() -> None:
        steps = list[tuple[int, int]]()
        folder = find_folder(tmp_path, wanted, "compatible", music=False)
        with pytest.raises(MediaUnavailable, match=r"\(numbers 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …\)"):
            await save_photos(folder, wanted, 1, fetch, lambda *step: steps.append(step))
        assert steps == [(done, 35) for done in range(36)]

    asyncio.run(asyncio.wait_for(run(), 10))


def test_files_that_do_not_fit_together_are_not_begun(
    server: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An answer names the sizes of moving halves, and those of pictures not.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 0, 2 * len(VIDEO) - 1))
    images = [picture(server.on(f"/{number}.jpeg", GOOD), clip=server.on(f"/{number}.mp4", GOOD)) for number in (1, 2)]
    for image in images:
        image["video"]["play_addr"]["data_size"] = len(VIDEO)
    with pytest.raises(DiskFull, match=f"it needs {2 * len(VIDEO):,} bytes"):
        save(tmp_path, post(*images))
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []
