"""Where links begin and end in a text, however they are escaped."""

from urllib.parse import quote

import pytest

from tikhub_mcp.posts.finding import find, locate, unescape

LINK = "https://www.tiktok.com/@u/video/7400000000000000017?lang=en"


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


@pytest.mark.parametrize(
    "escaped",
    [
        LINK.replace("/", "\\/"),
        LINK.replace("/", "\\\\/"),
        LINK.replace("/", "\\u002F").replace("=", "\\u003d").replace("?", "\\u003F"),
        LINK.replace("/", "\\x2f").replace("@", "\\u0040").replace(":", "\\x3A"),
        LINK.replace("/", "&#x2F;"),
        LINK.replace("/", "&#47;"),
        quote(LINK, safe=""),
        quote(LINK, safe="").lower(),
        quote(quote(LINK, safe=""), safe=""),
        LINK.replace(".com/", ".com%2F"),
    ],
)
@pytest.mark.parametrize(("before", "behind"), [("", ""), ("看", "\n"), ('{"url": "', '"}'), ("(", ").")])
def test_an_escaped_link_is_the_link(before: str, behind: str, escaped: str) -> None:
    text = before + escaped + behind
    assert find(text) == [LINK]
    assert [unescape(text)[found.start : found.end] for found in locate(text)[1]] == [LINK]


def test_a_link_in_the_query_of_an_encoded_link_stays_in_it() -> None:
    link = f"{LINK}&referer_url={quote('https://example.com/?a=b', safe='')}"
    assert find(quote(link, safe="")) == find(link) == [link]


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/?u=https%3A%2F%2Fv.douyin.com%2FiMadeUp1",
        "evil.example%2Fv.douyin.com%2FiMadeUp1",
        "https://evil.example%2Fv.douyin.com/iMadeUp1",
        "javascript:v.douyin.com\\/iMadeUp1",
    ],
)
def test_an_escape_takes_no_link_out_of_that_of_another_site(text: str) -> None:
    assert not any(link.startswith(("v.", "https://v.")) for link in find(text))


def test_an_app_link_ends_and_begins_like_any_other() -> None:
    text = "打开snssdk1128://aweme/detail/12345?a=b，tiktok://video/12345,snssdk1233://aweme/detail/1。"
    assert find(text) == [
        *("snssdk1128://aweme/detail/12345?a=b", "tiktok://video/12345", "snssdk1233://aweme/detail/1")
    ]


@pytest.mark.timeout(30)  # linear work takes milliseconds
def test_what_was_encoded_over_and_over_is_no_link_and_takes_no_time() -> None:
    assert find(f"tiktok.com%{'25' * 100_000}2F@u") == []
