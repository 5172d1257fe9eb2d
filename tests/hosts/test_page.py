"""The report page in Chromium, in which people open it."""

import html
import json
import re
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts.node import Node
from tests.support.pages import EVIL, POISONED, TITLE, written
from tests.support.payloads import envelope, photo_post, private_answer
from tests.support.summary_inputs import answer
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary import page as summary_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"), pytest.mark.slow]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-default-apps --disable-dev-shm-usage "
    "--virtual-time-budget=6000 --enable-logging=stderr"
)


@dataclass
class Seen:
    """What a browser showed.

    Attributes:
        told: What the script that was added to the page found.
        log: What came to the console, and what the browser itself had to say.
        asked: The addresses that it looked for.
    """

    told: Json
    title: str
    log: str
    asked: list[str]


def chromium(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a browser that has never run before."""
    profile = folder / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    command = [str(CHROMIUM), *FLAGS.split(), f"--user-data-dir={profile}", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8", timeout=60)


def with_script(page: Path, script: str) -> Path:
    """A copy of the page that, when it has drawn itself, does more, and writes down what that came to."""
    copy = page.with_name("copy.html")
    end = f"""<script type="module">
    const text = (id) => document.getElementById(id).innerText;
    const all = (what) => [...document.querySelectorAll(what)];
    const names = () => all("#body td.author > div > bdi").map((name) => name.textContent);
    const change = (id, value, kind) => {{
      document.getElementById(id).value = value;
      document.getElementById(id).dispatchEvent(new Event(kind));
    }};
    setTimeout(() => {{
      const told = (() => {{ {script} }})();
      document.documentElement.dataset.told = JSON.stringify(told);
      if (parent !== window) parent.postMessage(told, "*");
    }}, 1500);
    </script></body>"""
    before, _, after = page.read_text(encoding="utf-8").rpartition("</body>")  # the library has such words too
    copy.write_text(before + end + after, encoding="utf-8")
    return copy


def seen(page: Path, script: str = "return null", *options: str) -> Seen:
    """Open the page, run a script in it, and tell what that returned and what else happened."""
    log = page.with_name("net.json")
    address = with_script(page, script).as_uri()
    ran = chromium(page.parent, f"--log-net-log={log}", *options, "--dump-dom", address)
    told = re.search(r'data-told="([^"]*)"', ran.stdout)
    assert told, ran.stderr
    title = re.search(r"<title>(.*?)</title>", ran.stdout, re.DOTALL)
    asked = re.findall(r'"url":"([^"]*)"', log.read_text(encoding="utf-8"))
    return Seen(json.loads(html.unescape(told[1])), title[1] if title else "", ran.stderr, asked)


def console(log: str) -> list[str]:
    """What a page said to the console, without what is there for the curious only."""
    lines = re.findall(r":CONSOLE[^\]]*\] (.*)", log)
    # Vega's, about a chart that is drawn as it should; and the browser's own pages, which miss a network.
    return [line for line in lines if "WARN Dropping" not in line and "source: chrome://" not in line]


MANY: list[Json] = [
    answer("3001", 0, play_count=1000, digg_count=90, author={"nickname": "Ada"}, desc="paper boats"),
    answer("3001", 1, play_count=1500, digg_count=95, author={"nickname": "Ada"}, desc="paper boats"),
    answer("3002", 0, play_count=2000, digg_count=10, author={"nickname": "Bo"}, desc="kites"),
    answer("3003", 0, douyin=True, digg_count=70, author={"nickname": "纸船"}, desc="河上的纸船"),
    answer("3003", 3, douyin=True, digg_count=75, author={"nickname": "纸船"}, desc="河上的纸船"),
    answer("3004", 0, play_count=500, digg_count=60, author={"nickname": "Cy"}, desc="paper kites"),
    private_answer(),
]
NAMED = {"Ada", "Bo", "Cy", "paper", "boats", "kites"}  # words of the posts
TOUR = """
  const table = {first: names(), sorted: all("#head th").map((head) => head.getAttribute("aria-sort"))};
  const head = (field) => document.querySelector(`th[data-field=${field}] button`);
  head("likes").click(); table.likes = names();
  head("likes").click(); table.fewest = names();
  head("author").click(); table.authors = names();
  change("order", "rate", "change"); table.rates = names();
  change("order", "plays", "change");
  change("filter", "PAPER", "input"); table.paper = names();
  change("filter", "paper kites", "input"); table.both = names();
  change("filter", "3002", "input"); table.id = names();
  change("filter", "nothing", "input"); table.nothing = [names(), text("shown")];
  change("filter", "", "input");
  change("platform", "douyin", "change"); table.douyin = names();
  change("platform", "", "change"); table.all = names();
  const ranks = all("#ranks .card").map((card) => [card.id, card.querySelectorAll("li").length]);
  const growth = [document.getElementById("growth").hidden, all("#growth-chart svg .mark-line path").length];
  const choices = all("#growth-count option").map((option) => option.value);
  const clock = all("#growth-chart svg .role-axis-label text").map((label) => label.textContent);
  const missing = all("#missing li").map((item) => item.innerText);
  const grown = all("#growth-body tr").map((row) => row.innerText.replace(/\\s+/g, " "));
  return {table, ranks, growth, choices, clock, missing, grown, about: text("about"),
    totals: all("#totals .card").map((card) => card.innerText.replace(/\\s+/g, " ")),
    cells: all("#body tr").map((row) => [...row.cells].slice(2).map((cell) => cell.innerText)),
    links: all("#body a").map((link) => [link.href, link.rel, link.target])};
"""


def test_the_page_shows_totals_rankings_growth_and_a_table_to_sort_and_to_filter(tmp_path: Path) -> None:
    page = seen(written(tmp_path, MANY), TOUR, "--window-size=1280,2000")
    told, table = page.told, page.told["table"]
    assert told["about"].startswith("7 files read, 1 of them without a post.")
    assert told["totals"][:3] == ["4 posts", "4,000 plays (of 3 posts)", "240 likes"]
    assert told["ranks"] == [["rank-plays", 3], ["rank-likes", 4], ["rank-rate", 3]]
    assert told["growth"] == [False, 1]
    assert any(re.fullmatch(r"Oct \d+, \d\d:\d\d UTC", label) for label in told["clock"]), told["clock"]
    assert told["missing"] == ["https://vm.example/ABC/\nThe post is private."]
    assert told["grown"] == ["paper boats Ada · 3001 1,000 Oct 9, 2025 1,500 Oct 10, 2025 +500 +500"]
    assert told["choices"] == ["plays", "likes", "comments", "shares", "saves"]
    assert table["first"] == ["Bo", "Ada", "Cy", "纸船"]
    assert table["sorted"] == ["none", "none", "none", "descending", *["none"] * 6]
    assert (table["likes"], table["fewest"]) == (["Ada", "纸船", "Cy", "Bo"], ["Bo", "Cy", "纸船", "Ada"])
    assert table["authors"] == ["Ada", "Bo", "Cy", "纸船"]
    assert table["rates"] == ["Cy", "Ada", "Bo", "纸船"]
    assert (table["paper"], table["both"], table["id"]) == (["Ada", "Cy"], ["Cy"], ["Bo"])
    assert table["nothing"] == [[], "0 of 4 posts match"]
    assert (table["douyin"], table["all"]) == (["纸船"], table["first"])
    assert told["cells"][1] == [
        "Nov 14, 2023",
        "1,500",
        "95",
        "87",
        "65",
        "43",
        f"{100 * (95 + 87 + 65 + 43) / 1500:.2f}%",
        "Oct 10, 2025",
    ]
    assert told["cells"][3][1] == told["cells"][3][6] == "–"
    assert told["links"] == [["https://vm.example/ABC/", "noopener noreferrer", "_blank"]] * 4
    assert (page.title, console(page.log)) == (TITLE, [])


def test_no_text_of_a_post_runs_and_nothing_is_asked_of_the_network(tmp_path: Path) -> None:
    script = """
      all("th button").forEach((button) => button.click());
      const body = document.getElementById("body").innerText;
      return {body, images: document.images.length, scripts: document.scripts.length,
        links: all("#body a").map((link) => link.protocol),
        resources: performance.getEntriesByType("resource").length};
    """
    history = [answer("77", day, author={"nickname": EVIL[0]}) for day in (0, 1)]
    page = seen(written(tmp_path, [*POISONED, *history]), script, "--window-size=1280,2000")
    assert page.title == TITLE
    assert (page.told["images"], page.told["resources"]) == (0, 0)
    assert page.told["scripts"] == 4  # the page's own three, and the one of this test
    assert set(page.told["links"]) == {"https:"}
    assert len(page.told["links"]) == len(EVIL) + 1  # what has an odd link, or none, has none
    assert all(text in page.told["body"] for text in EVIL if "\u2028" not in text)
    assert [address for address in page.asked if "example" in address or "vega" in address] == []
    assert console(page.log) == []


def test_without_history_and_without_plays_the_page_shows_what_there_is(tmp_path: Path) -> None:
    script = """return {hidden: document.getElementById("growth").offsetParent === null,
      first: all("#body td.words .soft").map((span) => span.innerText),
      heads: all("#head th").map((th) => th.innerText),
      charts: all("#ranks h2").map((head) => head.innerText), sorted: document.getElementById("order").value};"""
    answers = [answer(str(likes), douyin=True, digg_count=likes, author={}) for likes in (5, 9)]
    page = seen(written(tmp_path, answers), script)
    assert page.told == {
        "hidden": True,
        "first": ["Douyin · 9", "Douyin · 5"],
        "heads": ["post", "posted", "likes", "comments", "shares", "saves", "as of"],
        "charts": ["Most likes"],
        "sorted": "likes",
    }
    assert console(page.log) == []


def test_the_page_speaks_chinese_where_the_locale_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    script = """change("filter", "3003", "input");
      return [document.querySelector("main").innerText.replace(/UTC|ID|JSON|CSV|TikTok/g, ""),
        all("#body td.date")[0].innerText, text("shown"), text("growth-body")];"""
    told, day, shown, growth = seen(written(tmp_path, MANY), script, "--window-size=1280,2000").told
    assert set(re.findall(r"[A-Za-z]+", told)) == {"https", "vm", "example", "ABC", *NAMED}
    assert (day, shown) == ("2023年11月14日", "4 个作品中有 1 个符合")
    assert "2025年10月9日" in growth


def test_a_photo_post_is_marked(tmp_path: Path) -> None:
    photos = envelope(photo_post(image_post_info={"title": "Boats", "images": [{}, {}]}))
    script = 'return all("#body .photos").map((mark) => mark.innerText);'
    assert seen(written(tmp_path, [answer("1"), photos]), script).told == ["photo post · 2 pictures"]


def test_a_page_without_any_post_says_so_without_an_error(tmp_path: Path) -> None:
    page = seen(written(tmp_path, [b"", private_answer()]), 'return [text("shown"), text("about").slice(0, 12)]')
    assert page.told == ["0 of 0 posts", "2 files read"]
    assert console(page.log) == []


def test_a_page_that_lists_a_part_of_the_posts_says_so_and_shows_a_hundred_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_page, "MAX_POSTS", 150)
    script = """const more = document.getElementById("more"), before = [names().length, text("shown"), more.hidden];
      more.click(); return [before, [names().length, text("shown"), more.hidden], all("#totals b")[0].innerText];"""
    answers = [answer(str(at), play_count=1 + at) for at in range(160)]
    listed = "(the 150 with the most plays and likes, of 160 in all; the CSV has every one)"
    assert seen(written(tmp_path, answers), script).told == [
        [100, f"100 of 150 posts {listed}", False],
        [150, f"150 of 150 posts {listed}", True],
        "160",
    ]


def lengthy(plays: int) -> list[Json]:
    """Answers about four posts with the longest of texts, and with history."""
    names = ["w" * 200, "纸船" * 100, "مرحبا " * 30, "Zoë"]
    text = f"https://a.example/{'x' * 150}"
    return [
        answer(str(10**18 + at), day, author={"nickname": name}, desc=text, play_count=plays + day, digg_count=plays)
        for at, name in enumerate(names)
        for day in (0, 1)
    ]


def on_phone(page: Path, width: int, script: str) -> Json:
    """What a script finds in the page on so narrow a screen; no window of Chromium's has less than 500 pixels."""
    with_script(page, script)
    frame = page.with_name("frame.html")
    frame.write_text(
        f"""<!DOCTYPE html><iframe src="copy.html" style="border:0;width:{width}px;height:900px"></iframe>
        <script>onmessage = (told) => document.documentElement.dataset.told = JSON.stringify(told.data)</script>"""
    )
    ran = chromium(page.parent, "--dump-dom", frame.as_uri())
    told = re.search(r'data-told="([^"]*)"', ran.stdout)
    assert told, ran.stderr
    return json.loads(html.unescape(told[1]))


@pytest.mark.parametrize("plays", [10**7, 10**10], ids=["long texts", "long numbers"])
@pytest.mark.parametrize("locale", ["C.UTF-8", "zh_CN.UTF-8"])
def test_the_page_fits_on_a_phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plays: int, locale: str) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    script = """const wide = all("main *:not(svg *)").filter((node) => node.scrollWidth > node.clientWidth + 1);
      return [innerWidth, document.documentElement.scrollWidth <= innerWidth,
        wide.filter((node) => node.clientWidth).map((node) => node.outerHTML)];"""
    assert on_phone(written(tmp_path, lengthy(plays)), 390, script) == [390, True, []]


def test_no_word_of_a_chart_is_cut_off_on_a_phone(tmp_path: Path) -> None:
    script = """const end = (node) => node.getBoundingClientRect().right;
      return all("svg.marks").flatMap((chart) => [...chart.querySelectorAll("text")]
        .filter((word) => end(word) > end(chart) + 1).map((word) => word.textContent));"""
    assert on_phone(written(tmp_path, lengthy(1000)), 400, script) == []


@pytest.mark.parametrize("width", [360, 730, 800, 1115, 1280])
def test_no_number_is_cut_off_and_posts_of_one_author_are_told_apart_however_wide_the_page_is(
    tmp_path: Path, width: int
) -> None:
    script = """const end = (node) => node.getBoundingClientRect().right;
      return [all("#ranks .number").filter((node) => end(node) > end(node.closest(".card"))).length,
        all("#growth-chart svg .mark-line path").length,
        all("#growth-body .words").map((cell) => cell.innerText.replace(/\\s+/g, " "))];"""
    author = {"nickname": "每日一图"}
    answers = [
        answer(post, day, play_count=10**10 - at, digg_count=123_456_789 - at, author=author, desc=f"第{post}集")
        for at, post in enumerate(("11234", "21234", "5"))
        for day in (0, 1)
    ]
    named = [f"第{post}集 每日一图 · {post}" for post in ("11234", "21234", "5")]
    assert on_phone(written(tmp_path, answers), width, script) == [0, 3, named]


def test_the_times_of_growth_are_utc_wherever_the_page_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    script = """const point = all("#growth-chart .mark-symbol path")[0], at = point.getBoundingClientRect();
      const where = {clientX: at.x + at.width / 2, clientY: at.y + at.height / 2, bubbles: true};
      for (const kind of ["pointerover", "pointermove", "mouseover", "mousemove"])
        point.dispatchEvent(new (kind[0] === "p" ? PointerEvent : MouseEvent)(kind, where));
      return [new Date(0).getTimezoneOffset(), document.querySelector("#vg-tooltip-element").innerText];"""
    offset, tip = seen(written(tmp_path, [answer("1", day) for day in (0, 1)]), script, "--window-size=1280,2000").told
    assert offset == 300
    assert "Oct 9, 2025, 08:53 UTC" in tip


def corner(picture: Path) -> tuple[int, ...]:
    """The colour of a PNG's first pixel, before which there is nothing that a filter could build upon."""
    content, at, packed = picture.read_bytes(), 8, b""
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            packed += content[at + 8 : at + 8 + length]
        at += 12 + length
    return tuple(zlib.decompress(packed)[1:4])


def test_the_page_is_light_or_dark_as_its_reader_wants_it(tmp_path: Path) -> None:
    page = written(tmp_path, MANY)
    pictures = {}
    for name, scheme in (("dark", 0), ("light", 1)):
        picture = tmp_path / f"{name}.png"
        options = (f"--blink-settings=preferredColorScheme={scheme}", "--window-size=800,900")
        chromium(tmp_path, *options, f"--screenshot={picture}", page.as_uri())
        pictures[name] = corner(picture)
    assert pictures == {"dark": (0x11, 0x13, 0x17), "light": (0xF6, 0xF7, 0xF9)}


def luminance(colour: str) -> float:
    """How bright a colour is, by WCAG 2."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(front: str, behind: str) -> float:
    dark, light = sorted((luminance(front), luminance(behind)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_all_text_stands_out_from_what_is_behind_it(tmp_path: Path, scheme: int) -> None:
    script = """const style = (what) => getComputedStyle(document.querySelector(what));
      const label = document.querySelector("#growth-chart svg .role-axis-label text");
      return {card: style(".card").backgroundColor, page: style("body").backgroundColor,
        on_card: [style(".total b").color, style(".total span").color, style("#body a").color,
          style("#body td:nth-child(3)").color, getComputedStyle(label).fill],
        on_page: [style("h1").color, style("#about").color]};"""
    told = seen(written(tmp_path, MANY), script, f"--blink-settings=preferredColorScheme={scheme}").told
    assert (luminance(told["page"]) < 0.1) is (scheme == 0)
    assert min(contrast(colour, told["card"]) for colour in told["on_card"]) >= 4.5
    assert min(contrast(colour, told["page"]) for colour in told["on_page"]) >= 4.5


def test_axe_finds_nothing_in_both_languages_light_and_dark_wide_and_narrow(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    for locale in ("C.UTF-8", "zh_CN.UTF-8"):
        monkeypatch.setenv("LC_ALL", locale)
        answers = [*MANY, *lengthy(10**9), envelope(photo_post(image_post_info={"images": [{}]}))]
        pages.append(written(tmp_path / locale, answers).as_uri())
    script = Path(__file__).with_name("axe.cjs")
    ran = node.run("node", script, node.modules, str(CHROMIUM), *pages, home=tmp_path, timeout=150)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert [(page["wrong"], page["beyond"]) for page in found] == [([], 0)] * 8
    assert min(page["checked"] for page in found) > 20  # rules
