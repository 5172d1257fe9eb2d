"""What people paste, and what is made of it. Every id and code here is made up."""

import pytest

from tikhub_mcp.errors import UnsupportedLink
from tikhub_mcp.posts.finding import find
from tikhub_mcp.posts.links import MAX_LINK_LENGTH, Link, parse_link, platform_in, post_at, shown
from tikhub_mcp.posts.lists import one

ID = "7400000000000000017"
OTHER_ID = "7400000000000000024"
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
        (f"https://www.tiktok.com/embed/v3/{ID}", TIKTOK),
        (f"https://www.tiktok.com/player/v1/{ID}?autoplay=1", TIKTOK),
        (f"https://www.tiktok.com/video/{ID}", TIKTOK),
        (f"https://www.tiktok.com/@u/story/{ID}", f"https://www.tiktok.com/@u/video/{ID}"),
        (f"https://m.tiktok.com/share/item/{ID}?x=1", TIKTOK),
        (f"https://www.tiktok.com/foryou?is_copy_url=1&item_id={ID}", TIKTOK),
        (f"https://www.tiktok.com/@u/video/{ID}?item_id={OTHER_ID}", f"https://www.tiktok.com/@u/video/{ID}"),
        (
            f"https://www.tiktok.com/login?redirect_url=https%3A%2F%2Fwww.tiktok.com%2F%40%2Fvideo%2F{ID}&lang=en",
            TIKTOK,
        ),
        (f"https://m.tiktok.com/v/{ID}.html?u_code=x", TIKTOK),
        (f"https://www.douyin.com/video/{ID}", DOUYIN),
        (f"https://www.douyin.com/video/{ID}?previous_page=app_code_link", DOUYIN),
        (f"https://www.douyin.com/note/{ID}", f"https://www.douyin.com/note/{ID}"),
        (f"https://www.douyin.com/slides/{ID}", f"https://www.douyin.com/note/{ID}"),
        (f"https://www.iesdouyin.com/share/video/{ID}/?region=CN&mid={OTHER_ID}", DOUYIN),
        (f"https://www.iesdouyin.com/share/note/{ID}/", f"https://www.douyin.com/note/{ID}"),
        (f"https://m.douyin.com/share/slides/{ID}", f"https://www.douyin.com/note/{ID}"),
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
        # Links that an app opens
        (f"snssdk1233://aweme/detail/{ID}", TIKTOK),
        (f"snssdk1180://aweme/detail/{ID}?refer=web", TIKTOK),
        (f"snssdk1340://aweme/detail?aweme_id={ID}", TIKTOK),
        (f"tiktok://video/{ID}", TIKTOK),
        (f"musically://aweme/detail/{ID}", TIKTOK),
        (f"snssdk1128://aweme/detail/{ID}?needlaunchlog=1", DOUYIN),
        (f"SnsSdk2329://aweme/detail/?aweme_id={ID}", DOUYIN),
        # Escaped in the path
        (f"https://www.tiktok.com/%40u%2Fvideo%2F{ID}", f"https://www.tiktok.com/@u/video/{ID}"),
        (f"https://www.douyin.com/discover%3Fmodal_id%3D{ID}", DOUYIN),
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
        (f"https://www.douyin.com/article/{ID}", "leads to an article"),
        (f"https://www.douyin.com/lvdetail/{ID}", "leads to a film or series"),
        ("snssdk1128://user/profile/123456789", "a profile"),
        ("snssdk1233://live?room_id=123456789", "a live room"),
        ("https://www.tiktok.com/login?redirect_url=https%3A%2F%2Fevil.example%2F", "a page that names no post"),
        (
            f"https://www.tiktok.com/@u/live?referer_url=https%3A%2F%2Fwww.tiktok.com%2F%40%2Fvideo%2F{ID}",
            "a live room",
        ),
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
        (f"xsnssdk1128://aweme/detail/{ID}", "no link"),
        (f"x-tiktok://video/{ID}", "no link"),
        ("3.58 复制打开抖音，看看【某某的作品】今天的海 w@F.oR 05/16 :/", "only the app opens this text"),
        ("复制此链接，打开Dou音搜索，直接观看视频！", "only the app opens this text"),
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


def test_a_found_link_leads_where_it_is_understood_to_lead() -> None:
    assert post_at(TIKTOK) == parse_link(TIKTOK)
    for link in ("https://www.tiktok.com/@someone", "https://example.com/", f"{DOUYIN}?{'x' * MAX_LINK_LENGTH}"):
        assert post_at(link) is None
    assert platform_in(f"https://example.com/ snssdk1128://aweme/detail/{ID} {TIKTOK}") == "douyin"


def test_a_link_behind_words_is_found_but_is_not_itself_one_link() -> None:
    assert one(f"看{DOUYIN}").url == DOUYIN
    with pytest.raises(UnsupportedLink, match="no link"):
        parse_link(f"看{DOUYIN}")


# What of a link is shown


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
        (
            f"https://www.douyin.com/x?a=1,2&modal_id={ID},secret,secret",
            f"https://www.douyin.com/x?a=1,2&modal_id={ID}",
        ),
        # Words that are glued to a link
        (f"{DOUYIN}密码secret", DOUYIN),
        (f"{DOUYIN}?lang=é密码", f"{DOUYIN}?lang="),
        (f"https://www.tiktok.com/@用户/video/{ID}密码secret", f"https://www.tiktok.com/@用户/video/{ID}"),
        (
            f"https://www.douyin.com/search/海?modal_id={ID}密码secret",
            f"https://www.douyin.com/search/海?modal_id={ID}",
        ),
        ("https://www.tiktok.com/@someone密码secret", "https://www.tiktok.com/@someone"),
        ("snssdk1128://user密码secret", "snssdk1128://user"),
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
