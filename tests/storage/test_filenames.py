"""Names of files, whatever authors call themselves, and the property behind them."""

import hashlib
import re
import unicodedata
from pathlib import PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.aweme import Aweme
from tikhub_mcp.posts.post import safe_id
from tikhub_mcp.storage import filenames
from tikhub_mcp.storage.atomic import PART_SUFFIX
from tikhub_mcp.storage.filenames import (
    MAX_AUTHOR_BYTES,
    MAX_AUTHOR_LENGTH,
    author_part,
    identity,
    raw_name,
    video_name,
)

ID = "7400000000000000017"
LONGEST_ID = "9" * 25
LINK = "https://v.douyin.com/made-up/"
PLATFORMS = ["tiktok", "douyin"]
QUALITIES = ["compatible", "best", "smallest"]
LIMIT = 143  # bytes in a name on eCryptfs
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{device}{n}" for device in ("COM", "LPT") for n in range(10))}
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"

AUTHORS = {
    "an ordinary one": ("Ada Paper", "Ada_Paper"),
    "any script": ("纸船 والقوارب เรือ", "纸船_والقوارب_เรือ"),
    "digits of any script": ("a1٣߃", "a1٣߃"),
    "what may stay": ("a.b-c_d", "a.b-c_d"),
    "decomposed, then composed": ("Cafe\u0301 A\u030a", "Café_Å"),
    "a run of what may not": ("a !?&/\\ b", "a_b"),
    "too many characters": ("a" * 300, "a" * 60),
    "too many bytes": ("纸" * 300, "纸" * 26),
    "bytes in the middle of a character": ("a" + "𐌰" * 60, "a" + "𐌰" * 19),
    "an end that the cut makes": ("a" * 59 + ".b", "a" * 59),
    "emoji only": ("🌊" * 300, "video"),
    "families": (f"Ada{FAMILY * 60}", "Ada"),
    "bidirectional overrides": ("a\u202egpj\u2066b\u2069", "a_gpj_b"),
    "control characters": ("a\x00b\x1bc\rd\ne\x7ff\x85g\u2028h", "a_b_c_d_e_f_g_h"),
    "reserved on Windows": ("CON", "video"),
    "reserved with a dot": ("nul.", "video"),
    "reserved with a suffix": ("COM1.tar", "video"),
    "reserved under other characters": ("*lpt9?", "video"),
    "a superscript": ("LPT¹", "LPT"),
    "not reserved at all": ("$Recycle.Bin", "Recycle.Bin"),
    "only begins like one": ("console", "console"),
    "the folder above": ("..", "video"),
    "dots": ("...", "video"),
    "a path": ("/../x", "x"),
    "blanks only": (" \t\u3000", "video"),
    "empty": ("", "video"),
    "a lone surrogate": ("a\ud800b\udfff", "a_b"),
    "marks without end": ("a" + "\u0301" * 500, "á" + "\u0301" * 39),
    "marks with nothing to sit on": ("\u0301\u0302a_\u0301b", "a_b"),
    "a command": ("$(reboot)`id`;rm -rf '\"&&|>%PATH%", "reboot_id_rm_-rf_PATH"),
    "an option": ("--rf", "rf"),
    "somebody's home": ("~root", "root"),
    "a programme": ("x.exe", "x.exe"),
    "a starter": ("x.desktop", "x.desktop"),
    "a formula": ("=1+1", "1_1"),
    "full-width separators": ("／．．＼ｘ", "ｘ"),
    "tags": ("a\U000e0041\U000e0042b\U000e007f", "a_b"),
    "fillers and selectors": ("a\u3164b\u115fc\ufe0fd\U000e0100e\u034ff", "a_b_c_d_e_f"),
    "private use": ("a\ue000b\U000f0000c", "a_b_c"),
    "nothing but fillers": ("\u3164\uffa0\u1160", "video"),
}
HOSTILE = st.lists(
    st.sampled_from([*(nickname for nickname, _ in AUTHORS.values()), ".", "-", "_", "e\u0301", "\uac00", "\u1100"])
    | st.text(st.characters(), max_size=80),
    max_size=6,
).map("".join)


@pytest.mark.parametrize(("nickname", "part"), AUTHORS.values(), ids=AUTHORS)
def test_the_author_becomes_a_part_that_is_safe_everywhere(nickname: str, part: str) -> None:
    assert author_part(nickname) == part


@pytest.mark.slow
@given(HOSTILE)
@example("a" * 59 + "\u0301" * 99)
@example("\u1161\u11a8")
def test_any_author_part_keeps_every_promise_of_the_contract(nickname: str) -> None:
    part = author_part(nickname)
    assert 0 < len(part) <= MAX_AUTHOR_LENGTH
    assert len(part.encode()) <= MAX_AUTHOR_BYTES
    assert all(char in "._-" or unicodedata.category(char)[0] in "LM" or char.isdecimal() for char in part)
    assert part[0] not in "._-"
    assert part[-1] not in "._-"
    assert "__" not in part
    assert unicodedata.is_normalized("NFC", part)
    assert part.partition(".")[0].upper() not in RESERVED
    assert author_part(part) == part


@pytest.mark.slow
@given(HOSTILE, st.sampled_from(PLATFORMS), st.sampled_from([ID, LONGEST_ID, "12345", "0123456789abcdef"]))
def test_a_video_of_any_author_has_a_name_that_fits_and_is_found_again(
    nickname: str, platform: str, video_id: str
) -> None:
    other = PLATFORMS[platform == PLATFORMS[0]]
    for quality in QUALITIES:
        name = video_name(platform, nickname, video_id, quality)
        assert len(f".{name}.01234567{PART_SUFFIX}".encode()) <= LIMIT
        assert name.startswith(f"{platform}_")
        assert name.endswith(f"_{video_id}.mp4" if quality == "compatible" else f"_{video_id}.{quality}.mp4")
        assert unicodedata.is_normalized("NFC", name)
        assert PureWindowsPath(name).parts == (name,)
        found = [wanted for wanted in QUALITIES if identity(name, wanted) == (platform, video_id)]
        assert found == [quality]
        assert identity(name, quality) != (other, video_id)
        assert identity(name, quality) != (platform, f"1{video_id}")
        assert identity(f".{name}.01234567{PART_SUFFIX}", quality) != (platform, video_id)


@pytest.mark.slow
@given(HOSTILE, HOSTILE)
def test_a_video_is_found_after_its_author_took_another_name(before: str, after: str) -> None:
    assert identity(video_name("tiktok", before, ID, "best"), "best") == ("tiktok", ID)
    assert author_part(before) == author_part(after) or (
        video_name("tiktok", before, ID, "best") != video_name("tiktok", after, ID, "best")
    )


def test_another_videos_id_in_an_authors_name_does_not_make_it_that_video() -> None:
    assert identity(video_name("tiktok", f"tiktok_x_{ID}", "12345", "compatible"), "compatible") != ("tiktok", ID)


@pytest.mark.parametrize("nickname", [None, 5, 1.5, True, [], ["a"], {}, {"a": "b"}])
def test_a_nickname_that_is_no_text_makes_a_name_all_the_same(nickname: Json) -> None:
    author = Aweme.model_validate({"author": {"nickname": nickname}}).author.nickname
    assert re.fullmatch(r"tiktok_\w+_\d+\.mp4", video_name("tiktok", author, ID, "compatible"))


# Raw files


@pytest.mark.parametrize(
    ("request_id", "which"),
    [("0a1b2c3d-0000-4000-8000-000000000001", "0a1b2c3d00004000"), ("abc", "abc"), ("A-" * 32, "A" * 16)],
)
def test_a_raw_file_is_named_by_the_post_and_the_beginning_of_the_request(request_id: str, which: str) -> None:
    assert raw_name(ID, LINK, request_id) == f"raw_{ID}_{which}.json"


@pytest.mark.parametrize("request_id", [None, "", "-", "----", 5, True, [], {"a": 1}])
def test_a_request_without_an_id_is_said_to_have_none(request_id: Json) -> None:
    assert raw_name(ID, LINK, request_id) == f"raw_{ID}_noreq.json"


@pytest.mark.parametrize(
    "request_id", ["../../x", "/abs", "a\\..\\b", ".", "x" * 65, "a b", "é", "a\n", "\ud800", "a_b"]
)
def test_a_request_id_that_is_none_goes_into_the_name_hashed(request_id: str) -> None:
    hashed = hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    assert raw_name(ID, LINK, request_id) == f"raw_{ID}_{hashed}.json"


def test_a_raw_file_without_a_post_is_named_by_the_link() -> None:
    digest = hashlib.sha256(LINK.encode()).hexdigest()[:10]
    assert raw_name("", LINK, "abc") == f"raw_unknown_{digest}_abc.json"
    assert raw_name("", LINK, None) == f"raw_unknown_{digest}_noreq.json"


@pytest.mark.parametrize(("copy", "end"), [(1, ""), (2, "_2"), (3, "_3"), (10, "_10")])
def test_a_taken_name_is_counted_on(copy: int, end: str) -> None:
    assert raw_name(ID, LINK, "abc", copy) == f"raw_{ID}_abc{end}.json"


@pytest.mark.parametrize(
    "value", ["../../x", "/abs", "a\\..\\b", ".", "7" * 300, "\x00", "EVIL", "٣٣٣٣٣", -5, 1, 2**200]
)
def test_an_id_that_is_none_never_reaches_a_name(value: Json) -> None:
    for name in (raw_name(safe_id(value), LINK, value), video_name("tiktok", "x", safe_id(value), "compatible")):
        assert re.fullmatch(r"(raw_[0-9a-f]{16}_([0-9a-f]{16}|noreq|EVIL)\.json|tiktok_x_[0-9a-f]{16}\.mp4)", name)


@given(st.text(), st.text() | st.none() | st.integers(), st.text() | st.integers())
def test_any_raw_file_has_a_plain_name_that_fits(link: str, request_id: object, aweme_id: Json) -> None:
    name = raw_name(safe_id(aweme_id), link, request_id, 999)
    assert re.fullmatch(r"raw_(\d{5,25}|[0-9a-f]{16}|unknown_[0-9a-f]{10})_[0-9A-Za-z]{1,16}_999\.json", name, re.ASCII)
    assert len(f".{name}.01234567{PART_SUFFIX}") <= LIMIT


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "cp1252", "utf-8"])
@pytest.mark.parametrize("nickname", ["作者", "é\u0301 café", "한국어", "मानक", "😀 smile", "\udcff", "～－"])
def test_every_name_fits_the_encoding_of_the_file_system(
    nickname: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filenames, "_ENCODING", encoding)
    assert author_part(nickname).encode(encoding)
    assert raw_name("", nickname, nickname).isascii()
