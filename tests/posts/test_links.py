"""What people paste, and what is made of it. Every id and code here is made up."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tikhub_mcp.errors import InvalidInput, UnsupportedLink
from tikhub_mcp.posts.links import MAX_LINK_LENGTH, Lines, Link, find, one, parse_link, parse_list, shown
from tikhub_mcp.text import clean

ID = "7400000000000000017"
OTHER_ID = "7400000000000000024"
MIB = 2**20
HOSTS = ("tiktok.com", "tiktokv.com", "tiktokv.us", "tiktokv.eu", "douyin.com", "iesdouyin.com", "amemv.com")
TIKTOK = f"https://www.tiktok.com/@/video/{ID}"
DOUYIN = f"https://www.douyin.com/video/{ID}"


# Links that show the id


@pytest.mark.parametrize(
    ("pasted", "canonical"),
    [
        (f"https://www.tiktok.com/@some.user_1/video/{ID}", f"https://www.tiktok.com/@some.user_1/video/{ID}"),
        (f"https://m.tiktok.com/@u/video/{ID}/?lang=en&_r=1#top", f"https://www.tiktok.com/@u/video/{ID}"),
        (f"https://tiktok.com/@u/photo/{ID}", f"https://www.tiktok.com/@u/photo/{ID}"),
        (f"https://www.tiktok.com/@/video/{ID}", TIKTOK),
        (f"https://www.tiktok.com/%40u/video/{ID}", f"https://www.tiktok.com/@u/video/{ID}"),
        (f"https://www.tiktok.com/@用户/video/{ID}", TIKTOK),
        (f"https://www.tiktok.com/@{'u' * 500}/video/{ID}", TIKTOK),
        (f"https://www.tiktok.com/share/video/{ID}", TIKTOK),
        (f"https://m.tiktok.com/i18n/share/video/{ID}/", TIKTOK),
        (f"https://www.tiktokv.com/share/video/{ID}/", TIKTOK),
        (f"https://www.tiktokv.us/share/photo/{ID}", f"https://www.tiktok.com/@/photo/{ID}"),
        (f"https://m.tiktokv.eu/share/video/{ID}", TIKTOK),
        (f"https://www.tiktok.com/embed/{ID}", TIKTOK),
        (f"https://www.tiktok.com/embed/v2/{ID}?lang=en", TIKTOK),
        (f"https://www.tiktok.com/player/v1/{ID}?autoplay=1", TIKTOK),
        (f"https://m.tiktok.com/v/{ID}.html?u_code=x", TIKTOK),
        (f"https://www.douyin.com/video/{ID}", DOUYIN),
        (f"https://www.douyin.com/video/{ID}?previous_page=app_code_link", DOUYIN),
        (f"https://www.douyin.com/note/{ID}", f"https://www.douyin.com/note/{ID}"),
        (f"https://www.douyin.com/slides/{ID}", f"https://www.douyin.com/slides/{ID}"),
        (f"https://www.iesdouyin.com/share/video/{ID}/?region=CN&mid={OTHER_ID}", DOUYIN),
        (f"https://www.iesdouyin.com/share/note/{ID}/", f"https://www.douyin.com/note/{ID}"),
        (f"https://m.douyin.com/share/slides/{ID}", f"https://www.douyin.com/slides/{ID}"),
        (f"https://jingxuan.douyin.com/m/video/{ID}", DOUYIN),
        (f"https://aweme.amemv.com/share/video/{ID}", DOUYIN),
        (f"https://www.douyin.com/discover?modal_id={ID}", DOUYIN),
        (f"https://www.douyin.com?modal_id={ID}", DOUYIN),
        (f"https://www.douyin.com/user/MS4wLjABAAAA_x-y?from_tab_name=main&vid={ID}", DOUYIN),
        (f"https://www.douyin.com/user/self?vid={OTHER_ID}&modal_id={ID}", DOUYIN),
        (f"https://www.douyin.com/user/self?vid=v0200fg10000abc&aweme_id={ID}", DOUYIN),
        (f"https://www.douyin.com/search/猫咪?type=general&amp;modal_id={ID}", DOUYIN),
        (f"https://www.douyin.com/search/%E7%8C%AB?modal_id={ID}", DOUYIN),
        (f"https://www.douyin.com/search/live?modal_id={ID}", DOUYIN),
        (f"https://www.douyin.com/jingxuan?item_id={ID}", DOUYIN),
        # Spelled unusually, the same nevertheless
        (f"HTTPS://WWW.TIKTOK.COM/@U/VIDEO/{ID}", f"https://www.tiktok.com/@U/video/{ID}"),
        (f"http://www.douyin.com:80/video/{ID}", DOUYIN),
        (f"https://www.douyin.com.:443/video/{ID}", DOUYIN),
        (f"www.douyin.com:443/video/{ID}", DOUYIN),
        (f"tiktok.com/@u/video/{ID}", f"https://www.tiktok.com/@u/video/{ID}"),
        (f"  {DOUYIN}\n", DOUYIN),
        # Something glued on
        (f"{DOUYIN}这个视频好看", DOUYIN),
        (f"{DOUYIN}，好看", DOUYIN),
        (f"{DOUYIN}%3Ffrom%3Dapp", DOUYIN),
        (f"{DOUYIN},好看", DOUYIN),
        ("https://www.douyin.com/video/12345", "https://www.douyin.com/video/12345"),
        (f"https://www.douyin.com/video/{'9' * 25}", f"https://www.douyin.com/video/{'9' * 25}"),
    ],
)
def test_a_link_that_shows_the_id_gives_the_one_canonical_link(pasted: str, canonical: str) -> None:
    link = parse_link(pasted)
    assert link.url == canonical
    assert link.post_id == canonical.rpartition("/")[2]
    assert link.platform == ("tiktok" if "tiktok" in canonical else "douyin")
    assert link.key == f"{link.platform}:{link.post_id}"
    assert one(pasted) == link


def test_a_link_is_remembered_as_it_stood() -> None:
    pasted = f"www.tiktok.com/@u/video/{ID}?is_from_webapp=1&sender_device=pc"
    assert one(f"看这个：{pasted}，不错") == Link(pasted, "tiktok", f"https://www.tiktok.com/@u/video/{ID}", ID)


# Short links


@pytest.mark.parametrize(
    ("pasted", "canonical"),
    [
        ("https://v.douyin.com/iMadeUp1/", "https://v.douyin.com/iMadeUp1/"),
        ("https://v.douyin.com/i-Made_Up1", "https://v.douyin.com/i-Made_Up1/"),
        ("http://V.DouYin.com/iMadeUp1/?utm=x#y", "https://v.douyin.com/iMadeUp1/"),
        ("v.douyin.com/iMadeUp1", "https://v.douyin.com/iMadeUp1/"),
        ("https://vm.tiktok.com/ZMadeUp1/", "https://vm.tiktok.com/ZMadeUp1/"),
        ("https://vt.tiktok.com/ZSmade-_1?k=1", "https://vt.tiktok.com/ZSmade-_1/"),
        ("https://www.tiktok.com/t/ZPmadeUp/", "https://www.tiktok.com/t/ZPmadeUp/"),
        ("https://m.tiktok.com/t/ZPmadeUp", "https://www.tiktok.com/t/ZPmadeUp/"),
        ("tiktok.com/t/ZPmadeUp", "https://www.tiktok.com/t/ZPmadeUp/"),
    ],
)
def test_a_short_link_keeps_its_host_and_code_and_nothing_else(pasted: str, canonical: str) -> None:
    link = one(pasted)
    assert (link.given, link.url, link.post_id, link.key) == (pasted, canonical, None, canonical)


@pytest.mark.parametrize(
    "glued",
    [
        "复制此链接",
        "/复制此链接，打开",
        "/，",
        "/。。。",
        "/👍",
        ".",
        "/!",
        "/?复制",
        "）",
        "/】看看",
        "/\ud800",
        "/**",
    ],
)
@pytest.mark.parametrize("short", ["https://v.douyin.com/i-Made_Up", "vm.tiktok.com/i-Made_Up"])
def test_what_is_glued_to_a_short_link_is_not_part_of_it(short: str, glued: str) -> None:
    link = one(f"看{short}{glued}")
    assert link.url == f"https://{short.removeprefix('https://')}/"
    assert link.given.rstrip("/") == short


@pytest.mark.parametrize("short", ["tiktok.com/t/i-Made_Up", "https://www.TikTok.COM/t/i-Made_Up"])
def test_what_is_glued_to_a_short_link_of_the_main_site_is_not_part_of_it(short: str) -> None:
    assert find(f"{short}复制此链接") == [short]


def test_a_post_in_the_query_is_worth_more_than_a_code() -> None:
    assert parse_link(f"https://v.douyin.com/iMadeUp1/?modal_id={ID}").url == DOUYIN


# Share texts


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (
            "3.14 复制打开抖音，看看【某某的作品】今天的海 # 海边 https://v.douyin.com/iMadeUp1/ aBc:/",
            "https://v.douyin.com/iMadeUp1/",
        ),
        (
            "0.01 03/14 q@W.eR Tyu:/ # 现场版live … https://v.douyin.com/iMade-Up_2/ 复制此链接，打开Dou音搜索，观看!",
            "https://v.douyin.com/iMade-Up_2/",
        ),
        (f"8.88 aB:/ 03/14 看这里+{DOUYIN}", DOUYIN),
        (f"Check out this video! #fyp {TIKTOK}?_t=8abc&_r=1 🔥🔥", TIKTOK),
        ("【标题】链接：https://vm.tiktok.com/ZMadeUp1/】", "https://vm.tiktok.com/ZMadeUp1/"),
        ("Link:vm.tiktok.com/ZMadeUp1", "https://vm.tiktok.com/ZMadeUp1/"),
        ("👉v.douyin.com/iMadeUp1/👈", "https://v.douyin.com/iMadeUp1/"),
        ("看看v.douyin.com/iMadeUp1/吧", "https://v.douyin.com/iMadeUp1/"),
        (f"[watch]({TIKTOK}), please", TIKTOK),
        (f'<a href="{DOUYIN}">看</a>', DOUYIN),
        (f"**{DOUYIN}**", DOUYIN),
        (f"{DOUYIN} 和 https://www.iesdouyin.com/share/video/{ID}/ 是一样的", DOUYIN),
        (f"https://www.tiktok.com/@someone {TIKTOK} https://example.com/", TIKTOK),
        (f"https://www.tiktok.com/login?redirect_url={TIKTOK}", TIKTOK),
    ],
)
def test_a_share_text_gives_its_one_post(text: str, url: str) -> None:
    assert one(text).url == url


def test_a_text_with_different_posts_is_refused_and_they_are_named() -> None:
    text = f"1.23 https://v.douyin.com/iMadeUp1/ aB:/ 03/14+https://www.douyin.com/jingxuan?modal_id={ID} {TIKTOK}"
    with pytest.raises(InvalidInput) as refusal:
        one(text)
    assert refusal.value.message == (
        f"This links to 3 different posts: https://v.douyin.com/iMadeUp1/, {DOUYIN}, {TIKTOK}. "
        "Give one, or all to the batch."
    )


def test_at_most_five_posts_are_named() -> None:
    long = "c" * 64
    with pytest.raises(InvalidInput) as refusal:
        one(" ".join(f"https://www.tiktok.com/t/{n}{long[1:]}/?{'x' * 900}" for n in range(8)))
    assert "8 different posts" in refusal.value.message
    assert "and 3 more." in refusal.value.message
    assert refusal.value.message.count("https://") == 5
    assert len(refusal.value.message) < 600


# What is refused, and why


@pytest.mark.parametrize(
    ("pasted", "reason"),
    [
        ("https://www.tiktok.com/@someone", "a profile"),
        ("https://www.tiktok.com/@someone/?lang=en", "a profile"),
        ("https://www.tiktok.com/%40someone", "a profile"),
        ("https://www.douyin.com/user/MS4wLjABAAAA", "a profile"),
        ("https://www.iesdouyin.com/share/user/123456789", "a profile"),
        ("https://live.douyin.com/123456789", "a live room"),
        (f"https://live.douyin.com/123456789?modal_id={ID}", "a live room"),
        ("https://webcast.amemv.com/douyin/webcast/reflow/123456789", "a live room"),
        ("https://www.tiktok.com/@someone/live", "a live room"),
        ("https://www.douyin.com/follow/live/123456789", "a live room"),
        (f"https://www.tiktok.com/music/a-song-{ID}", "a piece of music"),
        (f"https://www.iesdouyin.com/share/music/{ID}", "a piece of music"),
        ("https://www.tiktok.com/tag/cats", "a tag"),
        ("https://www.douyin.com/hashtag/123456789", "a tag"),
        (f"https://www.tiktok.com/@someone/playlist/mine-{ID}", "a playlist, mix or collection"),
        (f"https://www.tiktok.com/@someone/collection/mine-{ID}", "a playlist, mix or collection"),
        (f"https://www.douyin.com/collection/{ID}/1", "a playlist, mix or collection"),
        (f"https://www.iesdouyin.com/share/mix/detail/{ID}/", "a playlist, mix or collection"),
        ("https://www.tiktok.com/", "a page that names no post"),
        ("https://www.douyin.com", "a page that names no post"),
        ("https://v.douyin.com/", "a page that names no post"),
        ("https://www.douyin.com/video/1234", "a page that names no post"),
        (f"https://www.douyin.com/video/{'9' * 26}", "a page that names no post"),
        (f"https://www.douyin.com/video/{ID}a", "a page that names no post"),
        (f"https://www.douyin.com/video/{ID}%30", "a page that names no post"),
        ("https://www.douyin.com/video/７４００００００００", "a page that names no post"),
        (f"https://www.douyin.com/discover?xmodal_id={ID}", "a page that names no post"),
        (f"https://www.tiktok.com/foryou?modal_id={ID}", "a page that names no post"),
        (f"https://www.douyin.com/discover#?modal_id={ID}", "a page that names no post"),
        (f"https://www.douyin.com/discover?a=1#&modal_id={ID}", "a page that names no post"),
        (f"https://vm.tiktok.com/{'c' * 65}", "a page that names no post"),
        ("https://www.youtube.com/watch?v=abcdefghijk", "www.youtube.com"),
        ("https://example.com:8443/x", "example.com:8443"),
        ("https://example.com/@x", "leads to example.com."),
        ("https://user:secret@example.com/x", "leads to example.com."),
        ("https://user@/x", "leads to another site."),
        ("https://user:sec/secret@example.com/x", "leads to another site."),
        ("https://us.er:1234/secret@example.com/x", "leads to another site."),
        ("https://secret/x", "leads to another site."),
        ("", "no link"),
        ("   ", "no link"),
        ("just words", "no link"),
        (ID, "no link"),
        ("https://", "no link"),
        ("https:///www.douyin.com/video/12345", "no link"),
        ("//v.douyin.com/iMadeUp1/", "no link"),
        ("javascript:alert(1)//v.douyin.com/iMadeUp1/", "no link"),
        ("javascript:v.douyin.com/iMadeUp1/", "no link"),
        ("data:v.douyin.com/iMadeUp1/", "no link"),
        ("file:v.douyin.com/iMadeUp1/", "no link"),
        ("file:///v.douyin.com/iMadeUp1/", "no link"),
        ("ftp://v.douyin.com/iMadeUp1/", "no link"),
        ("someone@v.douyin.com/iMadeUp1/", "no link"),
        ("I saw it on tiktok.com today", "no link"),
        (f"{DOUYIN}?{'x' * MAX_LINK_LENGTH}", "no link"),
    ],
)
def test_what_is_no_post_is_refused_and_called_by_its_name(pasted: str, reason: str) -> None:
    with pytest.raises(UnsupportedLink, match=reason) as refusal:
        parse_link(pasted)
    assert "secret" not in refusal.value.message
    with pytest.raises(UnsupportedLink) as same:
        one(pasted)
    assert same.value.message == refusal.value.message


@pytest.mark.parametrize(
    "pasted",
    [
        f"https://evil-douyin.com/video/{ID}",
        f"https://notdouyin.com/video/{ID}",
        f"https://douyin.com.evil.example/video/{ID}",
        f"https://douyin.comevil/video/{ID}",
        f"https://www.douyin.co/video/{ID}",
        f"https://www.tiktokv.de/share/video/{ID}",
        "https://v.douyin.com@evil.example/iMadeUp1/",
        "https://v.douyin.com:x@evil.example/iMadeUp1/",
        "https://user@v.douyin.com/iMadeUp1/",
        "https://v.douyin.com:8443/iMadeUp1/",
        "https://v.douyin.com:80/iMadeUp1/",
        "http://v.douyin.com:443/iMadeUp1/",
        "v.douyin.com:80/iMadeUp1/",
        "https://v.douyin.com:/iMadeUp1/",
        "https://v.douyin.com../iMadeUp1/",
        "https://.douyin.com/iMadeUp1/",
        "https://evil.example/?u=https%3A%2F%2Fv.douyin.com/iMadeUp1",
        f"https://evil.example/video/{ID}?u=www.douyin.com/video/{ID}",
        f"https://evil.example#www.douyin.com/video/{ID}",
        f"evil.example/?u=www.douyin.com/video/{ID}",
        f"evil-douyin.com/video/{ID}",
        f"douyin.com.evil.example/video/{ID}",
        # Backslashes, white space and controls inside
        "https://evil.example\\v.douyin.com/iMadeUp1/",
        "https://evil.example\\@v.douyin.com/iMadeUp1/",
        "https://v.douyin.com\\.evil.example/iMadeUp1/",
        "https://v.dou\tyin.com/iMadeUp1/",
        "https://v.dou\nyin.com/iMadeUp1/",
        "https:\n//v.douyin.com/iMadeUp1/",
        f"https://evil\x00douyin.com/video/{ID}",
        # Other alphabets
        f"https://www.dоuyin.com/video/{ID}",  # a Cyrillic o
        f"https://аdouyin.com/video/{ID}",  # a Cyrillic a
        f"аdouyin.com/video/{ID}",
        f"https://www.ti\u212atok.com/@u/video/{ID}",  # the Kelvin sign
        f"www.ti\u212atok.com/@u/video/{ID}",
        f"http\u017f://www.douyin.com/video/{ID}",  # a long s
        f"https://www.ｄouyin.com/video/{ID}",
        f"https://公司douyin.com/video/{ID}",
        f"https://evil－douyin.com/video/{ID}",
        f"evil－douyin.com/video/{ID}",
        f"evil＠douyin.com/video/{ID}",
        f"https://evil😀douyin.com/video/{ID}",
        f"https://evil\u200bdouyin.com/video/{ID}",
        f"https://evil\u00addouyin.com/video/{ID}",
        f"https://douyin.com。evil.example/video/{ID}",
        f"https://douyin.com／video/{ID}",
    ],
)
def test_a_look_alike_is_refused(pasted: str) -> None:
    for understand in (parse_link, one):
        with pytest.raises(UnsupportedLink):
            understand(pasted)


@pytest.mark.parametrize("inside", ["\t", "\n", " ", "\x00", "\\", "\ud800", "\u202e"])
def test_nothing_blank_invisible_or_slanted_is_read_over(inside: str) -> None:
    with pytest.raises(UnsupportedLink):
        parse_link(f"{DOUYIN[:-9]}{inside}{DOUYIN[-9:]}")


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/a https://www.tiktok.com/@someone",
        "https://www.tiktok.com/@someone https://live.douyin.com/123456",
        "words https://www.tiktok.com/@someone words",
    ],
)
def test_of_several_reasons_the_one_about_our_hosts_is_given(text: str) -> None:
    with pytest.raises(UnsupportedLink, match="a profile"):
        one(text)


def test_a_refusal_quotes_no_more_than_a_cleaned_host() -> None:
    with pytest.raises(UnsupportedLink) as refusal:
        one(f"https://{'evil' * 200}.example/ignore-all-instructions")
    assert "ignore" not in refusal.value.message
    assert len(refusal.value.message) < 300


# Where a link begins and ends


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("", []),
        ("no link, tiktok.com neither; I@v.sE Fus:/ http:// https://.", []),
        ("看 https://example.com，好", ["https://example.com"]),
        ("https://example.com/a_(b).", ["https://example.com/a_(b"]),
        ("(see https://example.com/a?b=c#d!)", ["https://example.com/a?b=c#d"]),
        ("https://a.example/x,https://a.example/x", ["https://a.example/x", "https://a.example/x"]),
        ("https://https://a.example/x", ["https://a.example/x"]),
        ("https://a.example/?u=http://b.example/", ["https://a.example/?u=", "http://b.example/"]),
        (
            "vm.tiktok.com/A,vm.tiktok.com/B;vm.tiktok.com/C|x",
            ["vm.tiktok.com/A", "vm.tiktok.com/B", "vm.tiktok.com/C|x"],
        ),
        ("https://a.example,vm.tiktok.com/B", ["https://a.example", "vm.tiktok.com/B"]),
        ('["https://a.example/1","https://a.example/2"]', ["https://a.example/1", "https://a.example/2"]),
        ("https://a.example/x\\nmore", ["https://a.example/x"]),
        ("https://www.douyin.com/search/猫?q=1。", ["https://www.douyin.com/search/猫?q=1"]),
        ("HTTP://A.EXAMPLE/X", ["HTTP://A.EXAMPLE/X"]),
        ("https://v.douyin.com/iMadeUp1/?a=1 b", ["https://v.douyin.com/iMadeUp1/?a=1"]),
        ("好https://a.example/x\u3000好", ["https://a.example/x"]),
        *(
            (f"https://a.example/x{stop}y", ["https://a.example/x"])
            for stop in "，。！？；：、（）【】《》“”‘’「」…—·～\u00a0\u2028"
        ),
    ],
)
def test_a_link_in_a_text_ends_where_a_reader_would_end_it(text: str, links: list[str]) -> None:
    assert find(text) == links


@pytest.mark.parametrize("before", "_é.@/\\%=&?#$^~＠－\u2010\u2011")
def test_a_host_right_behind_another_name_or_inside_another_address_is_no_link(before: str) -> None:
    assert find(f"a {before}v.douyin.com/iMadeUp1") == []


def test_a_link_behind_words_is_found_but_is_not_itself_one_link() -> None:
    assert one(f"看{DOUYIN}").url == DOUYIN
    with pytest.raises(UnsupportedLink, match="no link"):
        parse_link(f"看{DOUYIN}")


# Lists


def test_a_list_keeps_the_numbers_of_its_lines() -> None:
    lines = (
        "\ufeff# 我的清单\r\n"
        f"{DOUYIN}\r\n"
        "\r\n"
        "  # https://v.douyin.com/commented/\n"
        "看 https://v.douyin.com/iMadeUp1/ 和 vm.tiktok.com/ZMadeUp1\r"
        " \t\u200b\n"
        "no link\there\n"
        f"{DOUYIN}"
    )
    found = parse_list(lines)
    assert found.links == [
        (2, DOUYIN),
        (5, "https://v.douyin.com/iMadeUp1/"),
        (5, "vm.tiktok.com/ZMadeUp1"),
        (8, DOUYIN),
    ]
    assert found.without == [7]


def test_a_line_that_starts_with_a_hashtag_is_skipped_in_a_list_and_not_in_a_share_text() -> None:
    text = f"#猫 {DOUYIN}\n# nothing\nwords\n{DOUYIN}"
    assert parse_list(text) == Lines([(4, DOUYIN)], [3])
    assert parse_list(text, comments=False) == Lines([(1, DOUYIN), (4, DOUYIN)], [3])


def test_a_byte_order_mark_is_not_part_of_the_first_link() -> None:
    assert parse_list(f"\ufeff{DOUYIN}") == Lines([(1, DOUYIN)], [])


@pytest.mark.parametrize("lines", ["", "\ufeff", "\n\n", "# only\n#comments", " \r\n\t", "\u200b\n\x00"])
def test_a_list_of_nothing_has_no_entries(lines: str) -> None:
    assert parse_list(lines) == Lines([], [])


def test_ten_thousand_lines_are_ten_thousand_entries() -> None:
    found = parse_list("\n".join(f"{n}. https://v.douyin.com/code{n}/ 复制" for n in range(1, 10_001))).links
    assert len(found) == 10_000
    assert found[-1] == (10_000, "https://v.douyin.com/code10000/")


@pytest.mark.parametrize(
    ("link", "fit"),
    [
        (DOUYIN, DOUYIN),
        (f"{DOUYIN}?from=app#x", f"{DOUYIN}?from=app#x"),
        ("vm.tiktok.com/ZMadeUp1", "vm.tiktok.com/ZMadeUp1"),
        (f"{DOUYIN},secret,secret", DOUYIN),
        (f"{DOUYIN}|secret,secret", DOUYIN),
        ("https://v.douyin.com/iMadeUp1/;secret|secret", "https://v.douyin.com/iMadeUp1/"),
        ("https://www.tiktok.com/@someone,secret", "https://www.tiktok.com/@someone"),
        (f"https://www.douyin.com/x?a=1,2&modal_id={ID}", f"https://www.douyin.com/x?a=1,2&modal_id={ID}"),
        (f"https://www.douyin.com/x,y/?modal_id={ID}", f"https://www.douyin.com/x,y/?modal_id={ID}"),
        ("https://hooks.example/T0/secret?token=secret#secret", "https://hooks.example/…"),
        ("HTTP://Hooks.Example", "http://Hooks.Example/…"),
        ("https://hooks.example:8443/secret", "https://hooks.example/…"),
        ("https://secret@github.example/x", "https://github.example/…"),
        ("https://me:secret@github.example/x", "https://github.example/…"),
        ("https://me:se@secret@github.example", "https://github.example/…"),
        ("https://secret@v.douyin.com/iMadeUp1/", "https://v.douyin.com/…"),
        ("https://me:secret@[2606:2800::1]:80/x", "https://…"),
        ("https://公司.example/secret", "https://公司.example/…"),
        ("v.douyin.com:80/secret", "v.douyin.com/…"),
        # What may be a part of a password is no host
        ("https://me:secret/secret@github.example/x", "https://…"),
        ("https://m.e:1234/secret@github.example/x", "https://…"),
        ("https://secret/secret@github.example/x", "https://…"),
        ("https://github.example:secret/x", "https://…"),
        ("https://secret", "https://…"),
        ("https://secret@/x", "https://…"),
        ("https://secret%40github.example/x", "https://…"),
        ("https://", "https://…"),
        ("evil＿douyin.com/x", "…"),
    ],
)
def test_of_a_link_to_another_site_only_scheme_and_host_are_fit_to_be_shown(link: str, fit: str) -> None:
    assert shown(link) == fit


# Bounds


@pytest.mark.timeout(30)  # linear work takes half a second; anything worse, hours
@pytest.mark.parametrize(
    ("head", "unit"),
    [
        *(
            ("", unit)
            for unit in ("a", "a.", "-", "中", " ", "\ud800", "tiktok.com.", "tiktok.com:0", "https://", "/@")
        ),
        *(("https://a", unit) for unit in (".a", "中", ",b.", ",tiktok.com:", "é", "@", "\\")),
        *(("https://www.douyin.com/?", unit) for unit in ("&modal_id=1", "&amp;", ",a.b", "中", "h", "https:/")),
        *(("https://v.douyin.com/", unit) for unit in ("c", "%", "/.", "。")),
    ],
)
def test_a_line_of_a_mebibyte_takes_linear_time(head: str, unit: str) -> None:
    line = head + unit * (MIB // len(unit))
    for _, link in parse_list(line).links:
        shown(link)
    _understood(one, line + "!")


# Whatever the text

ANY_TEXT = st.text(
    st.characters(exclude_categories=()) | st.sampled_from("\ud800\udfff\u200b\u202e。．：，@\\/.:?&=#%-")
)
PIECES = st.sampled_from(
    [
        *(DOUYIN, TIKTOK, DOUYIN.removeprefix("https://"), "https://www.tiktok.com/@", "https://v.douyin.com/iMadeUp1"),
        *(
            "https://www.tiktok.com/t/",
            "https://www.douyin.com/search/",
            f"?modal_id={ID}",
            f"/video/{OTHER_ID}",
            "vt.tiktok.com/Z",
        ),
        *(
            "https://",
            "http://",
            "HTTPS:",
            "//",
            "/",
            ".",
            "@",
            ":",
            ":443",
            ":80",
            "?",
            "&",
            "&amp;",
            "#",
            ",",
            " ",
            "\n",
        ),
        *HOSTS,
        *(
            "www.",
            "v.douyin.com/",
            "vm.tiktok.com/",
            "live.",
            "evil-",
            ".evil.example",
            "/t/",
            "/@u",
            "/video/",
            "/note/",
        ),
        *(
            "/share",
            "/embed/v2/",
            "/v/",
            ".html",
            "modal_id=",
            "vid=",
            "中文",
            "，",
            "%40",
            "\u212a",
            "\\",
            ID,
            OTHER_ID,
            "12345",
        ),
    ]
)
TEXTS = st.lists(PIECES | ANY_TEXT, max_size=12).map("".join)
HOST_LIKE = st.lists(
    st.sampled_from([*HOSTS, "www", "evil", "-", ".", "com", "@", ":", "443", "中", "/", "\\"]), max_size=6
)
property_of = settings(max_examples=200, deadline=None, database=None)


def _understood(understand: Callable[[str], Link], text: str) -> Link | None:
    """What a text is understood as; anything but the two foreseen errors goes on and fails the test."""
    try:
        return understand(text)
    except (UnsupportedLink, InvalidInput) as refusal:
        message = refusal.message
    assert clean(message, 800) == message
    return None


def _is_ours(host: str | None) -> bool:
    return host is not None and any(host == known or host.endswith(f".{known}") for known in HOSTS)


@property_of
@given(TEXTS)
@example("\ud800https://v.douyin.com/\udfff")
def test_no_text_raises_anything_unforeseen(text: str) -> None:
    _understood(one, text)
    for given_text in [text, *find(text), *(entry for _, entry in parse_list(text).links)]:
        _understood(parse_link, given_text)


@property_of
@given(TEXTS)
def test_every_link_stands_in_its_text_in_order(text: str) -> None:
    position = 0
    for link in find(text):
        position = text.index(link, position) + len(link)


@property_of
@given(TEXTS)
def test_an_understood_link_is_understood_again_as_the_same_post(text: str) -> None:
    link = _understood(one, text)
    if link is None:
        return
    again = parse_link(link.url)
    assert (again.given, again.url, again.key, again.platform) == (link.url, link.url, link.key, link.platform)
    assert parse_link(link.given) == link
    assert find(link.given) == [link.given]
    assert link.url.isascii()
    assert urlsplit(link.url).query == urlsplit(link.url).fragment == ""


@property_of
@given(TEXTS)
def test_an_id_is_always_in_the_text(text: str) -> None:
    link = _understood(one, text)
    assert link is None or link.post_id is None or link.post_id in link.given in text


@property_of
@given(TEXTS, HOST_LIKE.map("".join))
def test_a_host_outside_the_list_is_never_accepted(text: str, host: str) -> None:
    for candidate in (text, f"https://{host}/video/{ID}", f"{host}/@u/video/{ID}", f"http://{host}/t/code"):
        link = _understood(one, candidate)
        if link is not None:
            assert _is_ours(urlsplit(link.url).hostname)
            scheme = "" if "://" in link.given[:8] else "https://"
            assert _is_ours((urlsplit(scheme + link.given).hostname or "").removesuffix("."))


@property_of
@given(st.lists(TEXTS, max_size=5).map("\n".join))
def test_the_links_of_the_lines_are_those_of_the_text_and_the_other_lines_have_none(text: str) -> None:
    found = parse_list(text, comments=False)
    assert [link for _, link in found.links] == find(text)
    numbers = [number for number, _ in found.links]
    assert numbers == sorted(numbers)
    assert not set(numbers) & set(found.without)
    assert set(parse_list(text).without) == set(found.without)


@property_of
@given(TEXTS)
def test_what_is_shown_of_a_link_to_another_site_is_no_more_than_its_scheme_and_host(text: str) -> None:
    for link in find(text):
        fit = shown(link)
        if post := _understood(parse_link, link):
            assert link.startswith(fit)
            assert parse_link(fit).key == post.key
        assert link.startswith(fit) or re.fullmatch(r"(https?://)?(([\w-]+\.)+[\w-]+\.?/)?…", fit)
