"""page.py and report.html: one file that a browser without any network shows, and in which no text of a post runs."""

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.pages import EVIL, POISONED, TITLE, written
from tests.support.payloads import PHOTO_ID, Object, envelope, photo_post, private_answer
from tests.support.summary_inputs import answer
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary import page as summary_page

pytestmark = pytest.mark.slow  # these start servers, programs or libraries that take long


def test_nothing_in_the_library_could_end_its_element(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(stdout=b"a='</script>';b='<!--';c='</SCRIPT>'")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: made)
    summary_page.library.cache_clear()
    try:
        assert summary_page.library() == "a='<\\/script>';b='<\\!--';c='<\\/SCRIPT>'"
    finally:
        summary_page.library.cache_clear()


def test_the_day_of_a_post_may_be_a_number_or_its_text(tmp_path: Path) -> None:
    times: list[Json] = [1_700_000_000, "1700000000", "soon", 0, 2**50]
    posts = data_of(written(tmp_path, [answer(str(at), create_time=time) for at, time in enumerate(times)]))["posts"]
    assert sorted(post["posted"] for post in posts) == ["", "", "", "2023-11-14", "2023-11-14"]


class Tags(HTMLParser):
    """All elements of a page, and what its scripts hold."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script":
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.found.append(("", {}))


def data_of(page: Path) -> Object:
    """What the page was told."""
    found: Object = json.loads(Tags(page).scripts[0])
    return found


def test_the_page_is_one_file_that_refers_to_nothing(tmp_path: Path) -> None:
    tags = Tags(written(tmp_path, POISONED))
    referring = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href", "formaction", "ping"}
    assert [(tag, attrs) for tag, attrs in tags.found if referring & attrs.keys()] == []
    names = [tag for tag, _ in tags.found]
    assert {"link", "iframe", "img", "base", "object", "embed"} & set(names) == set()
    assert (names.count("script"), names.count("style")) == (3, 1)
    assert not any(attribute.startswith("on") for _, attrs in tags.found for attribute in attrs)


def test_the_page_forbids_itself_all_connections(tmp_path: Path) -> None:
    metas = [attrs for tag, attrs in Tags(written(tmp_path, [answer()])).found if tag == "meta"]
    (policy,) = [attrs["content"] or "" for attrs in metas if attrs.get("http-equiv") == "Content-Security-Policy"]
    directives = dict(piece.strip().partition(" ")[::2] for piece in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert {word for words in directives.values() for word in words.split()} <= {
        "'none'",
        "'unsafe-inline'",
        "'unsafe-eval'",
        "data:",
    }
    assert not {"connect-src", "frame-src", "worker-src"} & directives.keys()
    assert (directives["base-uri"], directives["form-action"]) == ("'none'", "'none'")
    assert {"name": "referrer", "content": "no-referrer"} in metas


def test_no_text_of_a_post_ends_the_element_that_it_stands_in(tmp_path: Path) -> None:
    page = written(tmp_path, POISONED)
    assert "<" not in Tags(page).scripts[0]
    texts = {post["title"] for post in data_of(page)["posts"]}
    assert {text for text in EVIL if "\u2028" not in text} <= texts
    assert "a b c" in texts  # they could end a line


def test_totals_are_over_all_posts_and_say_of_how_many(tmp_path: Path) -> None:
    answers = [
        answer("1", 0, play_count=9_000_000),
        answer("1", 1, play_count=1000, digg_count=10, comment_count=1, share_count=2, collect_count=None),
        answer("2", 0, play_count=500, digg_count=20, comment_count=1, share_count=2, collect_count=4),
        answer("3", 0, douyin=True, digg_count=30, comment_count=1, share_count=2, collect_count=5),
        private_answer(),
    ]
    data = data_of(written(tmp_path, answers))
    assert data["totals"] == [
        ["posts", 3, 3],
        ["plays", 1500, 2],
        ["likes", 60, 3],
        ["comments", 3, 3],
        ["shares", 6, 3],
        ["saves", 9, 2],
    ]
    assert (data["rows"], data["broken"], data["count"]) == (5, 1, 3)


def test_a_post_is_shown_by_its_newest_answer_and_what_is_not_known_is_null(tmp_path: Path) -> None:
    answers = [answer("1", 1, digg_count=5), answer("1", 0, digg_count=3), answer("2", None, douyin=True)]
    first, second = data_of(written(tmp_path, answers))["posts"]
    assert (first["id"], first["likes"], first["as_of"]) == ("1", 5, "2025-10-10T08:53:20Z")
    assert first["posted"] == "2023-11-14"
    assert (second["id"], second["plays"], second["rate"], second["as_of"]) == ("2", None, None, "")


def test_of_many_posts_those_with_the_most_plays_and_likes_are_kept_and_totals_are_over_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_page, "MAX_POSTS", 3)
    plays = (5, 900, 30, 700, 800, 1, 600)
    answers = [answer(str(at), play_count=count, digg_count=1) for at, count in enumerate(plays)]
    data = data_of(written(tmp_path, answers))
    assert [post["plays"] for post in data["posts"]] == [900, 800, 700]
    assert (data["count"], data["totals"][1][1]) == (7, sum(plays))


def test_the_rankings_are_over_all_posts_and_not_over_those_that_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_page, "MAX_POSTS", 1)
    none = dict.fromkeys(("comment_count", "share_count", "collect_count"), 0)
    most = {"1": (900, 1), "2": (500, 400), "3": (10, 9)}  # plays, likes: with the most plays, likes, and likes a play
    answers = [answer(post, play_count=plays, digg_count=likes, **none) for post, (plays, likes) in most.items()]
    data = data_of(written(tmp_path, answers))
    assert [post["id"] for post in data["posts"]] == ["1"]
    assert {name: [post["id"] for post in posts] for name, posts in data["ranks"].items()} == {
        "plays": ["1", "2", "3"],
        "likes": ["2", "3", "1"],
        "rate": ["3", "2", "1"],
    }


def test_a_photo_post_is_marked_with_its_pictures_and_its_title_comes_first(tmp_path: Path) -> None:
    photos = envelope(photo_post(image_post_info={"title": "Boats", "images": [{}, {}]}, desc="#boats"))
    posts = data_of(written(tmp_path, [answer("1"), photos]))["posts"]
    assert {post["id"]: (post["photos"], post["title"]) for post in posts} == {
        "1": (None, "Paper boats on the canal #boats #canal"),
        PHOTO_ID: (2, "Boats #boats"),
    }


def test_posts_without_plays_are_kept_by_their_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_page, "MAX_POSTS", 2)
    answers = [answer(str(count), douyin=True, digg_count=count) for count in (3, 9, 6, 1)]
    assert [post["likes"] for post in data_of(written(tmp_path, answers))["posts"]] == [9, 6]


@pytest.mark.parametrize(
    ("locale", "empty", "private"),
    [
        ("C.UTF-8", "The file holds no readable JSON: it is empty.", "The post is private."),
        ("zh_CN.UTF-8", "文件中没有可读的 JSON", "此作品是私密作品"),
    ],
)
def test_missing_posts_stand_with_the_link_that_was_asked_for_and_the_reason_the_first_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: str, empty: str, private: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setattr(summary_page, "MAX_MISSING", 2)
    asked = private_answer()
    asked["params"] = {"share_url": "https://vm.example/PRIVATE/"}
    data = data_of(written(tmp_path, [b"", answer("1"), asked, b"?"]))
    assert (data["broken"], data["missing"]) == (
        3,
        [["", "0000.json", empty], ["https://vm.example/PRIVATE/", "0002.json", private]],
    )


def test_the_page_names_no_folder_and_is_in_the_language_of_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for locale, language, title in (("C.UTF-8", "en", TITLE), ("zh_CN.UTF-8", "zh-CN", "TikTok 与抖音作品")):
        monkeypatch.setenv("LC_ALL", locale)
        page = written(tmp_path, [answer("1"), b""])
        text = page.read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert f"<title>{title}</title>" in text
        assert ("html", {"lang": language}) in Tags(page).found
        assert not re.search("@[a-z_A-Z]+@", text)


def test_a_count_that_no_post_has_has_no_total(tmp_path: Path) -> None:
    data = data_of(written(tmp_path, [answer("1", douyin=True, collect_count=None)]))
    assert [name for name, *_ in data["totals"]] == ["posts", "likes", "comments", "shares"]


def test_growth_is_told_of_the_largest_posts_and_of_their_newest_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_page, "MAX_CHART_LINES", 2)
    monkeypatch.setattr(summary_page, "MAX_POINTS", 3)
    answers = [answer(f"100{at}", day, play_count=at * 10 + day) for at in range(4) for day in range(5)]
    history = data_of(written(tmp_path, answers))["history"]
    assert [line["id"] for line in history] == ["1003", "1002"]
    assert [[point["plays"] for point in line["points"]] for line in history] == [[32, 33, 34], [22, 23, 24]]
    assert [point["as_of"][:10] for point in history[0]["points"]] == ["2025-10-11", "2025-10-12", "2025-10-13"]


@pytest.mark.parametrize("answers", [[answer("1"), answer("2"), b""], [answer("1"), answer("1"), answer("1", None)]])
def test_without_two_times_there_is_no_growth_and_no_script_for_it(tmp_path: Path, answers: list[Json]) -> None:
    page = written(tmp_path, answers)
    assert data_of(page)["history"] == []
    assert page.stat().st_size < 50_000
