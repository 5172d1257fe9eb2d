"""post.py: what is read out of an answer, and which file is taken. What becomes of nonsense is in test_aweme.py."""

import copy
import hashlib

import pytest

from tests.support.payloads import (
    ANSWERED,
    DOUYIN_ID,
    PHOTO_ID,
    TIKTOK_ID,
    Object,
    address,
    douyin_post,
    envelope,
    photo_post,
    private_answer,
    tiktok_post,
    video,
)
from tikhub_mcp.errors import NotAVideo, PostUnavailable, UnexpectedAnswer, WrongPost
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.links import Link, parse_link
from tikhub_mcp.posts.post import (
    Metrics,
    Post,
    check_available,
    check_same_post,
    choose,
    parse_post,
    safe_id,
    why_silent,
)
from tikhub_mcp.posts.renditions import Quality

TIKTOK = parse_link(f"https://www.tiktok.com/@paper.boats/video/{TIKTOK_ID}")
DOUYIN = parse_link(f"https://www.douyin.com/video/{DOUYIN_ID}")
SHORT = parse_link("https://vm.tiktok.com/ZMmadeup1/")
RECEIVED = ANSWERED + 3600.0
END = 0x70000000
NO_IDS: list[Json] = [None, "", True, 7.3e18, [TIKTOK_ID], {}]
NO_DATA: list[Json] = [None, {}, {"aweme_details": [None]}]
NO_FLAGS: list[Json] = [False, 0, None, "", []]
UNTROUBLED: list[Json] = [
    *(dict.fromkeys(("is_delete", "is_prohibited", "private_status"), flag) for flag in NO_FLAGS),
    *(None, [], "deleted", {}),
]
QUALITIES: tuple[Quality, ...] = ("compatible", "best", "smallest")


def tiktok(**over: Json) -> Post:
    return parse_post(envelope(tiktok_post(**over)), TIKTOK, RECEIVED)


def filmed(**over: Json) -> Post:
    return tiktok(video=video(**over))


def cdn(expires: int, host: str = "cdn-a") -> str:
    return f"https://{host}.example/{'0a' * 16}/{expires:08x}/video/tos/made-up/?a=1"


# The numbers


def test_the_metrics_are_what_was_reported() -> None:
    assert tiktok().metrics == Metrics(
        video_id=TIKTOK_ID,
        author="Ada Paper",
        likes=4321,
        comments=87,
        shares=65,
        plays=98_765,
        saves=43,
        downloads=21,
        duration_ms=15_000,
        resolution="576x1024",
        as_of="2025-10-09T08:53:20Z",
        notes={},
    )


@pytest.mark.parametrize("served", [0, 5000, None, "nonsense"])
def test_douyin_reports_no_plays_whatever_is_in_the_field(served: Json) -> None:
    post = douyin_post(statistics=tiktok_post()["statistics"] | {"play_count": served})
    metrics = parse_post(envelope(post, douyin=True), DOUYIN, RECEIVED).metrics
    assert (metrics.plays, metrics.notes) == (None, {"plays": "Douyin does not report plays"})
    assert metrics.likes == 4321


@pytest.mark.parametrize(
    ("served", "stamp"), [(ANSWERED, ANSWERED), (str(ANSWERED), ANSWERED), (1_700_000_000.0, 1.7e9)]
)
def test_the_numbers_are_as_old_as_the_answer_says(served: Json, stamp: float) -> None:
    assert parse_post(envelope(tiktok_post(), time_stamp=served), TIKTOK, RECEIVED).stamp == stamp


@pytest.mark.parametrize("served", [None, 0, -1, 1_300_000_000, 2**33, 10**15, "soon", True, [ANSWERED]])
def test_an_answer_without_a_credible_time_is_as_old_as_its_receipt(served: Json) -> None:
    post = parse_post(envelope(tiktok_post(), time_stamp=served), TIKTOK, RECEIVED)
    assert (post.stamp, post.metrics.as_of) == (RECEIVED, "2025-10-09T09:53:20Z")


def test_words_of_others_are_cleaned_and_cut() -> None:
    nasty = "a\x1b[31m\u202eb\ud800\x00\n\U000e0041 c" + "x" * 5000
    post = tiktok(desc=nasty, author={"nickname": nasty})
    assert post.title.startswith("a [31m b c")
    assert (len(post.title), len(post.metrics.author)) == (300, 100)
    assert (tiktok(desc=5).title, tiktok(author="Ada").author, tiktok(author={"nickname": 5}).author) == ("", "", "")


# What it is


@pytest.mark.parametrize(
    ("post", "link"),
    [
        (photo_post(), SHORT),
        (photo_post(image_post_info=None), SHORT),
        (photo_post(aweme_type=0), SHORT),
        (photo_post(aweme_type=51, image_post_info={"images": [{}]}), SHORT),
        *((photo_post(aweme_type=kind, image_post_info=None), SHORT) for kind in (2, 68, 150, "150", 150.0)),
        (douyin_post(images=[{"url_list": ["https://img.example/1.jpg"]}]), DOUYIN),
        (douyin_post(aweme_type=68, images=None), DOUYIN),
    ],
)
def test_a_photo_post_has_numbers_but_no_file_to_take_for_its_video(post: Object, link: Link) -> None:
    found = parse_post(envelope(post, douyin=link is DOUYIN), link, RECEIVED)
    assert (found.kind, found.renditions, found.metrics.likes) == ("images", (), 4321)
    assert (found.metrics.resolution, found.metrics.duration_ms) == (None, None)
    assert [found.metrics.notes[name] for name in ("resolution", "duration_ms")] == ["a photo post has none"] * 2
    for quality in QUALITIES:
        with pytest.raises(NotAVideo, match=rf"{found.video_id} is a photo post"):
            choose(found, quality)


@pytest.mark.parametrize("nothing", [None, [], {}, {"images": None}, {"images": []}, "x", 5])
def test_empty_lists_of_pictures_make_no_photo_post(nothing: Json) -> None:
    assert tiktok(image_post_info=nothing, images=nothing).kind == "video"


@pytest.mark.parametrize(
    ("served", "made"),
    [
        (TIKTOK_ID, TIKTOK_ID),
        (int(TIKTOK_ID), TIKTOK_ID),
        ("EVIL", hashlib.sha256(b"EVIL").hexdigest()[:16]),
        ("../../x", hashlib.sha256(b"../../x").hexdigest()[:16]),
        ("1234", hashlib.sha256(b"1234").hexdigest()[:16]),
        ("٣" * 9, hashlib.sha256(("٣" * 9).encode()).hexdigest()[:16]),
        (f"{TIKTOK_ID}\n", hashlib.sha256(f"{TIKTOK_ID}\n".encode()).hexdigest()[:16]),
        (-(10**9), hashlib.sha256(b"-1000000000").hexdigest()[:16]),
        ("\ud800", hashlib.sha256(b"\xed\xa0\x80").hexdigest()[:16]),
        *((nothing, "") for nothing in NO_IDS),
    ],
)
def test_an_id_is_always_text_that_may_stand_in_a_name(served: Json, made: str) -> None:
    assert safe_id(served) == made
    post = parse_post(envelope(tiktok_post(aweme_id=served)), SHORT, RECEIVED)
    assert post.video_id == post.metrics.video_id == (made or hashlib.sha256(SHORT.url.encode()).hexdigest()[:16])


def test_another_post_than_the_link_names_is_the_wrong_one() -> None:
    check_same_post(tiktok(), TIKTOK)
    check_same_post(tiktok(aweme_id=int(TIKTOK_ID)), TIKTOK)
    check_same_post(tiktok(), SHORT)
    for other in (PHOTO_ID, "EVIL"):
        with pytest.raises(WrongPost, match=TIKTOK_ID) as caught:
            check_same_post(tiktok(aweme_id=other), TIKTOK)
        assert other not in caught.value.message


# Where it is, and why it is not


@pytest.mark.parametrize(
    "data",
    [
        {"aweme_detail": tiktok_post()},
        {"aweme_details": [tiktok_post()]},
        {"aweme_details": [tiktok_post(), tiktok_post(aweme_id=PHOTO_ID)]},
        {"aweme_details": [tiktok_post(aweme_id=PHOTO_ID), None, tiktok_post(aweme_id=int(TIKTOK_ID))]},
        {"aweme_detail": tiktok_post(), "aweme_details": [tiktok_post(aweme_id=PHOTO_ID)]},
        {"aweme_detail": None, "aweme_details": [tiktok_post()]},
        {"aweme_detail": {}, "aweme_details": [tiktok_post()]},
        tiktok_post(),
        tiktok_post(aweme_details=[], aweme_detail="x"),
    ],
)
def test_the_post_is_found_wherever_an_endpoint_puts_it(data: Object) -> None:
    assert parse_post(envelope(data=data), TIKTOK, RECEIVED).video_id == TIKTOK_ID


UNKNOWN = "is not available (private, deleted or blocked; TikHub does not say which)"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (private_answer(5), "is private"),
        (private_answer("5"), "is private"),
        (private_answer(8), "is blocked for copyright reasons, or gone"),
        (private_answer(10), "is visible to some people only"),
        (private_answer(77), "is not available, for a reason that is not known here: see the raw answer"),
        (private_answer(None), UNKNOWN),
        (private_answer({"a": []}), UNKNOWN),
        (envelope(data={"filter_list": [5, {}, {"reason": 10}]}), "is visible to some people only"),
        (envelope(data={"status_code": 2053}), "is not there any more, or private"),
        (envelope(data={"statusCode": 10204}), "is not there any more, or private"),
        (envelope(data={"status_code": 0, "filter_list": "x"}), UNKNOWN),
        *((envelope(data=data), UNKNOWN) for data in NO_DATA),
    ],
)
def test_an_answer_without_a_post_says_why_and_that_it_was_charged(answer: Json, why: str) -> None:
    with pytest.raises(PostUnavailable) as caught:
        parse_post(answer, TIKTOK, RECEIVED)
    assert caught.value.message == f"Do not retry: TikHub answered, and charged, but post {TIKTOK_ID} {why}."
    with pytest.raises(PostUnavailable, match=f"the post behind {SHORT.url} "):
        parse_post(answer, SHORT, RECEIVED)


@pytest.mark.parametrize(
    "data", ["x", 5, {"aweme_details": ["x"]}, {"aweme_list": [tiktok_post()]}, {"itemInfo": {"itemStruct": {"id": 1}}}]
)
def test_an_answer_in_another_form_is_not_called_a_missing_post(data: Json) -> None:
    with pytest.raises(UnexpectedAnswer, match="not in a form that this reads"):
        parse_post(envelope(data=data), TIKTOK, RECEIVED)


@pytest.mark.parametrize("root", [[], None, 5, "x", {}, object()])
def test_what_is_no_answer_at_all_is_not_called_a_missing_post(root: Json) -> None:
    with pytest.raises(UnexpectedAnswer, match="not in a form that this reads"):
        parse_post(root, TIKTOK, RECEIVED)


def test_an_answer_that_says_that_the_request_failed_is_not_called_a_missing_post() -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        parse_post(envelope(data=None, code=400, message="Request failed."), TIKTOK, RECEIVED)
    assert caught.value.message == (
        f"Do not retry: TikHub's answer about post {TIKTOK_ID} was charged, and says that the request failed "
        "(code 400). Another call is charged too."
    )


@pytest.mark.parametrize(
    ("status", "why"),
    [
        *(({"is_delete": flag}, "was deleted") for flag in (True, 1, "1", 1.0)),
        ({"is_prohibited": True}, "was taken down by the platform"),
        *(({"private_status": value}, "is private, or visible to some people only") for value in (1, 2, "1")),
        *((status, "") for status in UNTROUBLED),
    ],
)
def test_a_post_that_was_taken_away_is_judged_so_but_still_read(status: Json, why: str) -> None:
    post = tiktok(status=status)
    assert (post.unavailable_reason, post.metrics.likes) == (why, 4321)
    if why:
        with pytest.raises(PostUnavailable, match=rf"charged, but post {TIKTOK_ID} {why}\.$"):
            check_available(post)
    else:
        check_available(post)


# Its files


def test_the_files_are_those_of_bit_rate_and_of_all_play_addresses_each_once() -> None:
    one, two, three, four = (address("h264", side, 2 * side) for side in (360, 480, 540, 576))
    five, six = address("bytevc1", 720, 1280), address("bytevc1", 1080, 1920)
    gears = [{"play_addr": file, "bit_rate": 5} for file in (four, six, one)]
    post = filmed(play_addr=one, play_addr_h264=two, play_addr_265=five, play_addr_bytevc1=three, bit_rate=gears)
    assert {(file.codec, file.side) for file in post.renditions} == {
        *(("h264", 360), ("h264", 480), ("h264", 540), ("h264", 576), ("h265", 720), ("h265", 1080))
    }
    assert len(post.renditions) == 6


def test_the_default_finds_the_h264_file_that_bit_rate_does_not_list() -> None:
    assert all("_h264_" not in gear["play_addr"]["url_key"] for gear in video()["bit_rate"])
    assert choose(filmed(), "compatible")[0].codec == "h264"


@pytest.mark.parametrize("unnamed", [{"url_key": ""}, {"url_key": None}, {"url_key": "", "uri": "", "data_size": None}])
def test_a_file_without_a_key_is_known_again_by_what_else_is_the_same(unnamed: Object) -> None:
    same, other = address(**unnamed), address(width=720, height=1280, size=2_000_000, **unnamed)
    post = filmed(play_addr=same, bit_rate=[{"play_addr": copy.deepcopy(same)}, {"play_addr": other}])
    assert sorted(file.side for file in post.renditions) == [576, 720]


@pytest.mark.parametrize(
    ("key", "flags", "codec"),
    [
        ("v0_h264_540p_80", {"is_h265": 1}, "h264"),
        ("v0_bytevc1_540p_80", {"is_h265": 0}, "h265"),
        *(("", {flag: value}, "h265") for flag in ("is_h265", "is_bytevc1") for value in (1, True, "1")),
        *(("7300000000000000001", {"is_h265": value, "is_bytevc1": value}, "h264") for value in (0, False, None, "x")),
    ],
)
def test_the_codec_is_in_the_key_or_else_in_the_flags(key: str, flags: Object, codec: str) -> None:
    file = address(url_key=key)
    assert [found.codec for found in filmed(play_addr=file, bit_rate=[], **flags).renditions] == [codec]
    gears = [{"play_addr": file, **flags}]
    assert [found.codec for found in filmed(play_addr=None, bit_rate=gears).renditions] == [codec]


def urls_of(post: Post, quality: Quality = "compatible") -> list[str]:
    """The first link of each file that may be downloaded, in order."""
    return [file.urls[0] for file in choose(post, quality)]


def at(name: str, **over: Json) -> Object:
    """An address with one link, which is told by its name."""
    return address() | {"url_list": [f"https://cdn.example/{name}"], "url_key": "", "uri": name} | over


H266: dict[str, Object] = {
    "the key": {"play_addr": at("x", url_key="v0_bytevc2_720p_5")},
    "both flags": {"play_addr": at("x"), "is_h265": 2, "is_bytevc1": 2},
    "one flag, as on TikTok": {"play_addr": at("x"), "is_bytevc1": "2"},
    "a flag against the key": {"play_addr": at("x", url_key="v0_h264_720p_5"), "is_h265": 2},
    "a flag of a codec to come": {"play_addr": at("x"), "is_h265": 3},
}


@pytest.mark.parametrize("how", H266)
def test_bytedances_h266_is_never_taken_however_it_is_marked(how: str) -> None:
    best = H266[how]["play_addr"] | {"width": 2160, "height": 3840, "data_size": 1}
    gears = [H266[how] | {"play_addr": best}]
    for field in ("play_addr_h264", "play_addr_265", "play_addr_bytevc1"):  # which name the same file
        post = filmed(play_addr=at("good"), bit_rate=gears, **{field: best})
        assert [urls_of(post, quality) for quality in QUALITIES] == [["https://cdn.example/good"]] * 3
    with pytest.raises(PostUnavailable, match="without the address of a playable file"):
        choose(filmed(play_addr=None, bit_rate=gears), "best")


def test_the_flags_of_a_video_are_those_of_its_play_addr_if_that_has_no_key() -> None:
    for key, taken in (("", ["https://cdn.example/b"]), ("v0_h264_540p_9", ["https://cdn.example/a"])):
        post = filmed(play_addr=at("a", url_key=key), play_addr_265=at("b"), bit_rate=[], is_h265=2)
        assert urls_of(post)[:1] == taken


ONE_TRACK: dict[str, Object] = {
    "by its format": {"format": "dash", "play_addr": at("x")},
    "by its format in capitals": {"format": "DASH", "play_addr": at("x")},
    "in a path": {"play_addr": at("x", url_list=["https://cdn.example/tos/media-video-avc1/x"])},
    "at the end of a path": {"play_addr": at("x", url_list=["https://cdn.example/x/media-video-hvc1/"])},
    "in a query": {"play_addr": at("x", url_list=["https://cdn.example/x?file=/media-video-hvc1/&a=1"])},
    "in a query, escaped": {"play_addr": at("x", url_list=["https://cdn.example/x?file=%2Fmedia-video-hvc1%2F"])},
    "in one of its links": {"play_addr": at("x", url_list=["https://a.example/x", "https://b.example/media-video-a/"])},
    "as sound": {"play_addr": at("x", url_list=["https://cdn.example/tos/media-audio-und-mp4a/x"])},
}


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("how", ONE_TRACK)
def test_a_file_of_one_track_comes_after_all_others_whatever_the_quality(how: str, quality: Quality) -> None:
    larger = {"width": 2160, "height": 3840, "data_size": 1, "url_key": "v0_h264_2160p_9"}
    gear = ONE_TRACK[how] | {"play_addr": ONE_TRACK[how]["play_addr"] | larger}
    plain = [
        {"play_addr": at("h264", url_key="v0_h264_360p_1")},
        {"play_addr": at("h265", url_key="v0_bytevc1_360p_1")},
    ]
    *good, last = choose(filmed(play_addr=None, bit_rate=[gear, *plain]), quality)
    assert [file.tracks for file in good] == ["both", "both"]
    assert last.tracks == ("sound" if how == "as sound" else "picture")
    alone = filmed(play_addr=None, bit_rate=[gear])
    assert choose(alone, quality) == (last,)


def test_sound_alone_comes_after_pictures_alone() -> None:
    names = ("media-audio-a/", "media-video-a/", "plain/")
    post = filmed(play_addr=None, bit_rate=[{"format": "dash", "play_addr": at(name)} for name in names[:2]])
    assert urls_of(post) == [f"https://cdn.example/{name}" for name in names[1::-1]]


@pytest.mark.parametrize("url", ["https://media-video-cdn.example/x", "https://cdn.example/media-videos/"])
def test_a_link_that_only_resembles_a_mark_is_none(url: str) -> None:
    assert [file.tracks for file in filmed(play_addr=at("x", url_list=[url]), bit_rate=[]).renditions] == ["both"]


def test_a_file_of_which_one_field_says_that_it_is_pictures_alone_is_so_in_all_fields() -> None:
    file = address("bytevc1", 720, 1280)
    post = filmed(play_addr_bytevc1=file, bit_rate=[{"format": "dash", "is_bytevc1": 1, "play_addr": file}])
    assert [(found.side, found.tracks) for found in choose(post, "best")] == [(576, "both"), (720, "picture")]


def test_a_file_with_sound_and_one_without_may_have_the_same_key() -> None:
    key = {"url_key": "v0_h264_720p_5"}
    gears = [{"format": "dash", "play_addr": at("silent", data_size=9, **key)}]
    post = filmed(play_addr=at("sound", data_size=10, **key), bit_rate=gears)
    assert urls_of(post) == ["https://cdn.example/sound", "https://cdn.example/silent"]


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({}, "it has no sound, although the post names music: another quality may have it"),
        ({"video": video(bit_rate=[])}, "it has no sound, although the post names music"),
        ({"music": None}, "it has no sound"),
        (
            {"video": video(play_addr=None, bit_rate=[ONE_TRACK["by its format"]])},
            "it has no sound: TikHub's answer offers only files of the picture alone",
        ),
    ],
)
def test_the_warning_about_a_silent_file_says_as_much_as_is_known(over: Object, words: str) -> None:
    assert why_silent(tiktok(**over)) == words


@pytest.mark.parametrize("nowhere", [None, [], 5, [""], [None, 5, "ftp://x.example/", "/aweme/play", "//x.example/"]])
def test_a_video_without_an_address_is_no_video_and_the_watermarked_copy_is_no_substitute(nowhere: Json) -> None:
    post = filmed(play_addr=address(url_list=nowhere), bit_rate=[], download_suffix_logo_addr=address())
    for quality in QUALITIES:
        with pytest.raises(PostUnavailable, match=rf"charged, but post {TIKTOK_ID} came without"):
            choose(post, quality)


def test_mirrors_stay_in_order_each_once_without_what_is_no_link() -> None:
    urls = ["https://b.example/1", "", "https://a.example/1", None, "http://c.example/1", "https://b.example/1", 5]
    (file,) = filmed(play_addr=address(url_list=urls), bit_rate=[]).renditions
    assert file.urls == ("https://b.example/1", "https://a.example/1", "http://c.example/1")


File = tuple[str, int, int | None, int]  # codec as in keys, shorter side, bytes, bit rate


@pytest.mark.parametrize(
    ("quality", "files", "taken"),
    [
        ("compatible", [("bytevc1", 1080, 9, 9), ("h264", 540, 9, 5), ("h264", 720, 9, 1), ("h264", 720, 9, 2)], 3),
        ("compatible", [("bytevc1", 540, 9, 9), ("bytevc1", 720, 9, 1)], 1),
        ("best", [("h264", 720, 9, 9), ("bytevc1", 1080, 1, 1), ("bytevc1", 1080, 9, 2)], 2),
        ("best", [("bytevc1", 1080, 9, 9), ("h264", 1080, 1, 1)], 1),
        ("smallest", [("h264", 540, 300, 1), ("bytevc1", 720, 200, 9), ("h264", 360, None, 1)], 1),
        ("smallest", [("h264", 540, None, 300), ("bytevc1", 720, None, 200), ("h264", 360, None, 0)], 1),
    ],
)
def test_each_quality_takes_its_own_file(quality: Quality, files: list[File], taken: int) -> None:
    gears = [
        {"play_addr": address(codec, side, 2 * side, data_size=size, url_key=f"v0_{codec}_{side}p_{rate}")}
        for codec, side, size, rate in files
    ]
    chosen = choose(filmed(play_addr=None, bit_rate=gears), quality)[0]
    found = chosen.codec.replace("h265", "bytevc1"), chosen.side, chosen.size, chosen.bit_rate
    assert found == files[taken]


def test_what_an_address_leaves_out_is_taken_from_its_key() -> None:
    bare = address(height=0, data_size=0, file_hash="ABCDEF", url_key="v0_bytevc1_720p_464409") | {"width": None}
    (file,) = filmed(play_addr=bare, bit_rate=[]).renditions
    assert (file.width, file.height, file.bit_rate, file.size, file.file_hash) == (720, 720, 464409, None, "abcdef")
    (file,) = filmed(play_addr=address(url_key=f"v0_h264_540p_{'9' * 5000}"), bit_rate=[]).renditions
    assert file.bit_rate == 0


@pytest.mark.parametrize(
    ("urls", "served", "expires"),
    [
        ([cdn(END)], 5, END),
        ([cdn(END, "cdn-a"), cdn(END + 60, "cdn-b"), "https://api.example/aweme/v1/play/?x=1"], 0, END + 60),
        (["https://api.example/aweme/v1/play/?x=1"], END, END),
        (["https://cdn.example/x.mp4"], str(END), END),
        *((["https://cdn.example/x.mp4"], nothing, None) for nothing in (0, None, -5, "soon")),
    ],
)
def test_links_end_when_their_path_says_or_else_the_answer(urls: list[str], served: Json, expires: int | None) -> None:
    (file,) = filmed(play_addr=address(url_list=urls), bit_rate=[], cdn_url_expired=served).renditions
    assert file.expires == expires
