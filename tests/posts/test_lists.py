"""Which of the links in texts and lists are meant. Every id and code here is made up."""

import cProfile
import json
import pstats
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tikhub_mcp.errors import InvalidInput, UnsupportedLink
from tikhub_mcp.posts.finding import find, unescape
from tikhub_mcp.posts.links import Link, parse_link, shown
from tikhub_mcp.posts.lists import Lines, one, parse_list, parse_text
from tikhub_mcp.text import clean

ID = "7400000000000000017"
OTHER_ID = "7400000000000000024"
HOSTS = ("tiktok.com", "tiktokv.com", "tiktokv.us", "tiktokv.eu", "douyin.com", "iesdouyin.com", "amemv.com")
TIKTOK = f"https://www.tiktok.com/@/video/{ID}"
DOUYIN = f"https://www.douyin.com/video/{ID}"
PROFILE = "https://www.tiktok.com/@someone"
SITE = "https://example.com/x"
A, B, C, D = (f"https://vt.tiktok.com/ZSMade{letter}/" for letter in "ABCD")
LITE = "https://www.tiktok.com/tiktoklite"
LITE_AD = f"This post is shared via TikTok Lite. Download TikTok Lite to enjoy more posts:  {LITE}"
AD = "Bu gönderi TikTok üzerinden paylaşılır. Daha fazla gönderi için TikTok'u indirin: "


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
        "Give one, or all of them to batch_download (on the command line: `tikhub-mcp batch`)."
    )


def test_at_most_five_posts_are_named() -> None:
    long = "c" * 64
    with pytest.raises(InvalidInput) as refusal:
        one(" ".join(f"https://www.tiktok.com/t/{n}{long[1:]}/?{'x' * 900}" for n in range(8)))
    assert "8 different posts" in refusal.value.message
    assert "and 3 more." in refusal.value.message
    assert refusal.value.message.count("https://") == 5
    assert len(refusal.value.message) < 600


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


# Which links are meant


@pytest.mark.parametrize("parse", [parse_text, parse_list])
@pytest.mark.parametrize(
    ("text", "meant", "left_out"),
    [
        # The app's share texts
        (f"{A}\n{AD}{B}", [A], [B]),
        (f"{A} {AD}{B}", [A], [B]),
        (f"\ufeff {A} \r\n{AD}{B}\r\n", [A], [B]),
        (f"{A}\n{AD}{B}\n{C}\n{AD}{D}", [A, C], [B, D]),
        (f"https://www.tiktok.com/t/ZTMade/ TikTok {B}", ["https://www.tiktok.com/t/ZTMade/"], [B]),
        (f"{A} {AD}{B} Ben: {C} {AD}{D}", [A, C], [B, D]),
        (f"{A} {LITE_AD}", [A], [LITE]),
        (f"{A} {LITE_AD}\n{B} {LITE_AD}", [A, B], [LITE, LITE]),
        (f"{TIKTOK} by {PROFILE}, see {SITE}", [TIKTOK], [PROFILE, SITE]),
        (f"{SITE} has {DOUYIN}", [DOUYIN], [SITE]),
        (f"{A}\n{PROFILE} has posted {B}", [A, B], [PROFILE]),
        # Lists of bare links are never thinned out
        (f"{PROFILE} {TIKTOK}", [PROFILE, TIKTOK], []),
        (f"{TIKTOK}, {PROFILE}; {SITE}", [TIKTOK, PROFILE, SITE], []),
        (f'["{TIKTOK}", "{PROFILE}"]', [TIKTOK, PROFILE], []),
        (f"{A}\n{PROFILE}\n\n'{B}'\n", [A, PROFILE, B], []),
        (f"\ufeff{PROFILE}\n{TIKTOK}", [PROFILE, TIKTOK], []),
        (f"see: {PROFILE}, {TIKTOK}", [PROFILE, TIKTOK], []),
        # Nothing that could be meant instead
        (f"{PROFILE} or {SITE}", [PROFILE, SITE], []),
        (f"{LITE_AD}", [LITE], []),
        # Short links that nobody advertises
        (f"{A} and {B}", [A, B], []),
        (f"{A} tiktok {B}", [A, B], []),
        (f"{A}\nTikTok\n{B}", [A, B], []),
        (f"{A}\n\nTikTok {B}", [A, B], []),
        (f"TikTok {A}", [A], []),
        (f"Look: {A}\n{AD}{B}", [A, B], []),
        (f"{C} {A}\n{AD}{B}", [C, A, B], []),
        ("\n".join(f"Check out a video on TikTok! {link}" for link in (A, B, C)), [A, B, C], []),
        ("\n".join(f"12.03.25, 10:00 - Ben: auch TikTok {link}" for link in (A, B, C)), [A, B, C], []),
        ("\n".join(f"Ben - TikTok - {link}" for link in (A, B, C)), [A, B, C], []),
        # A share text has one advertisement
        (f"{A} {AD}{B} {AD}{C}", [A, C], [B]),
        (f"{A}\n{AD}{B}\n{AD}{C}", [A, C], [B]),
        # The cells of one line
        (f'["on TikTok {A}", "on TikTok {B} now","on TikTok {C}"]', [A, B, C], []),
        (f'[{{"text":"on TikTok {A}"}},{{"text":"on TikTok {B}"}}]', [A, B], []),
        (f'"on TikTok {A}";"on TikTok {B}"', [A, B], []),
        (f"{TIKTOK} TikTok {B}", [TIKTOK, B], []),
        (f"https://v.douyin.com/iMadeUp1/ on TikTok {B}", ["https://v.douyin.com/iMadeUp1/", B], []),
        (f"{A} on TikTok https://v.douyin.com/iMadeUp1/", [A, "https://v.douyin.com/iMadeUp1/"], []),
        (f"TikTok,{A}\nTikTok,{B}\n", [A, B], []),
        (f"1;TikTok;{A}\n2;TikTok;{B}\n", [A, B], []),
        (f"TikTok 1: {A}\nTikTok 2: {B}\n", [A, B], []),
        (f"TikTok\t{A}\nTikTok\t{B}\n", [A, B], []),
    ],
)
def test_a_link_that_the_text_only_carries_along_is_left_out(
    parse: Callable[[str], Lines], text: str, meant: list[str], left_out: list[str]
) -> None:
    lines = parse(text)
    assert [link for _, link in lines.links] == meant
    assert [link for _, link in lines.left_out] == left_out


def test_in_a_list_a_line_stands_for_itself_and_a_pasted_text_as_a_whole() -> None:
    text = f"the post: {TIKTOK}\nby: {PROFILE}\n"
    assert parse_list(text) == Lines([(1, TIKTOK), (2, PROFILE)], [])
    assert parse_text(text) == Lines([(1, TIKTOK)], [], [(2, PROFILE)])


def test_the_one_post_of_a_share_text_is_not_the_app() -> None:
    assert one(f"{A}\n{AD}{B}").url == A
    assert one(f"{A} {LITE_AD}").url == A
    with pytest.raises(InvalidInput, match="2 different posts"):
        one(f"{A} {B}")


# JSON and tables


RECORDS = [
    {"id": 1, "url": TIKTOK, "author": {"url": PROFILE}, "covers": [{"url": SITE}], "same": TIKTOK + "?lang=en"},
    {"id": 2, "author": {"url": SITE}, "url": TIKTOK, "text": f"see {DOUYIN}"},
    {"id": 3, "url": PROFILE},
]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("wrap", [lambda items: items, lambda items: {"Activity": {"Likes": {"List": items}, "x": []}}])
def test_each_item_of_a_list_in_json_names_its_post_once(wrap: Callable[[object], object], indent: int | None) -> None:
    lines = parse_list(json.dumps(wrap(RECORDS), indent=indent).replace("/", "\\/"))
    assert [link for _, link in lines.links] == [TIKTOK, TIKTOK, DOUYIN, PROFILE]
    assert [link for _, link in lines.left_out] == [PROFILE, SITE, SITE]


def test_what_is_no_json_is_read_line_by_line() -> None:
    lines = "\n".join(json.dumps(record) for record in RECORDS)
    assert [number for number, _ in parse_list(lines).links] == [1, 1, 2, 2, 3]
    assert parse_list(f'[{{"url": "{TIKTOK}"') == Lines([(1, TIKTOK)], [])
    deep = "[" * 100_000 + f'"{TIKTOK}"' + "]" * 100_000
    assert parse_list(deep) == Lines([(1, TIKTOK)], [])


def test_a_heading_an_empty_cell_and_the_lines_of_an_export_are_no_entries() -> None:
    assert parse_list(f'"Link",Likes\n"{TIKTOK}",5\n"",\n5,{DOUYIN}\n') == Lines([(2, TIKTOK), (4, DOUYIN)], [1, 3])
    assert parse_list(f"Date: 2026-01-01\nLink: {TIKTOK}\n\nDate: 2026-01-02\nLink: {DOUYIN}\n") == Lines(
        [(2, TIKTOK), (5, DOUYIN)], [1, 4]
    )


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
    assert parse_text(text) == Lines([(1, DOUYIN), (4, DOUYIN)], [3])


def test_a_byte_order_mark_is_not_part_of_the_first_link() -> None:
    assert parse_list(f"\ufeff{DOUYIN}") == Lines([(1, DOUYIN)], [])


@pytest.mark.parametrize("lines", ["", "\ufeff", "\n\n", "# only\n#comments", " \r\n\t", "\u200b\n\x00"])
def test_a_list_of_nothing_has_no_entries(lines: str) -> None:
    assert parse_list(lines) == Lines([], [])


@pytest.mark.slow
def test_ten_thousand_lines_are_ten_thousand_entries() -> None:
    found = parse_list("\n".join(f"{n}. https://v.douyin.com/code{n}/ 复制" for n in range(1, 10_001))).links
    assert len(found) == 10_000
    assert found[-1] == (10_000, "https://v.douyin.com/code10000/")


# Bounds


@pytest.mark.slow
@pytest.mark.timeout(30)  # linear work takes half a second; anything worse, hours
@pytest.mark.parametrize(
    ("head", "unit"),
    [
        *(
            ("", unit)
            for unit in ("a", "a.", "-", "中", " ", "\n", "\ud800", "tiktok.com.", "tiktok.com:0", "https://")
        ),
        *(("", unit) for unit in ("/@", "\\", "%25", "https%3A%2F%2Ftiktok.com%2F", "https%25", "tiktok.com%2F")),
        *(("", unit) for unit in ("&#x2F;", "tiktok://a", "打开", "TikTok, ", f"TikTok {A} ", f"\n{A}", "[", '{"')),
        *(("[", unit) for unit in ('{"a":', '{"a":[{"b":1}]},', "[],", '"a",')),
        *(("https://a", unit) for unit in (".a", "中", ",b.", ",tiktok.com:", "é", "@", "\\")),
        *(("https://www.douyin.com/?", unit) for unit in ("&modal_id=1", "&amp;", ",a.b", "中", "h", "https:/")),
        *(("https://v.douyin.com/", unit) for unit in ("c", "%", "/.", "。")),
    ],
)
@pytest.mark.timeout(15)  # what is linear takes a fifth of a second, what is quadratic half a minute
def test_a_long_line_takes_linear_time(head: str, unit: str) -> None:
    line = head + unit * (2**16 // len(unit))
    for _, link in parse_list(line).links:
        shown(link)
    parse_text(line)
    _understood(one, line + "!")


@pytest.mark.parametrize("line", ["x", ",", "#", ""])
def test_a_line_without_a_link_takes_few_steps(line: str) -> None:
    with cProfile.Profile() as profile:  # calls are counted, because time depends on what else the machine does
        parse_list(f"{line}\n" * 10_000)
    assert pstats.Stats(profile).total_calls < 12 * 10_000  # type: ignore[attr-defined]


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
            "snssdk1128://",
            "https%3A%2F%2F",
            "%2F",
            "\\/",
            "TikTok",
            A,
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
property_of = settings(max_examples=100, deadline=None, database=None)


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


@pytest.mark.slow
@property_of
@given(TEXTS)
@example("\ud800https://v.douyin.com/\udfff")
def test_no_text_raises_anything_unforeseen(text: str) -> None:
    _understood(one, text)
    for given_text in [text, *find(text), *(entry for _, entry in parse_list(text).links)]:
        _understood(parse_link, given_text)


@pytest.mark.slow
@property_of
@given(TEXTS)
def test_every_link_stands_in_its_text_in_order(text: str) -> None:
    position = 0
    text = unescape(text)
    for link in find(text):
        position = text.index(link, position) + len(link)


@pytest.mark.slow
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


@pytest.mark.slow
@property_of
@given(TEXTS)
def test_an_id_is_always_in_the_text(text: str) -> None:
    link = _understood(one, text)
    assert link is None or link.post_id is None or link.post_id in link.given in unescape(text)


@pytest.mark.slow
@property_of
@given(TEXTS, HOST_LIKE.map("".join))
def test_a_host_outside_the_list_is_never_accepted(text: str, host: str) -> None:
    for candidate in (text, f"https://{host}/video/{ID}", f"{host}/@u/video/{ID}", f"http://{host}/t/code"):
        link = _understood(one, candidate)
        if link is not None:
            assert _is_ours(urlsplit(link.url).hostname)
            scheme = "" if "://" in link.given[:8] else "https://"
            assert _is_ours((urlsplit(scheme + link.given).hostname or "").removesuffix("."))


@pytest.mark.slow
@property_of
@given(st.lists(TEXTS, max_size=5).map("\n".join))
def test_the_links_of_the_lines_are_those_of_the_text_and_the_other_lines_have_none(text: str) -> None:
    found = parse_text(text)
    assert sorted(link for _, link in found.links + found.left_out) == sorted(find(text))
    numbers = [number for number, _ in found.links]
    assert numbers == sorted(numbers)
    assert {link for _, link in found.links if _understood(parse_link, link)} or not found.left_out
    assert not set(numbers) & set(found.without)
    assert set(parse_list(text).without) == set(found.without)


@pytest.mark.slow
@property_of
@given(TEXTS)
def test_what_is_shown_of_a_link_to_another_site_is_no_more_than_its_scheme_and_host(text: str) -> None:
    for link in find(text):
        fit = shown(link)
        if post := _understood(parse_link, link):
            assert link.startswith(fit)
            assert parse_link(fit).key == post.key
        assert link.startswith(fit) or re.fullmatch(r"(https?://)?(([\w-]+\.)+[\w-]+\.?/)?…", fit)
