"""Texts and lists → the links in them that are meant, with the numbers of their lines. Pure.

An app's share text also advertises the app. So two kinds of links are left out. First, a link that leads to no post,
where the same text, or the same line of a list, has one that does. Second, a short link of TikTok that comes after
another in the same share text, with "TikTok" in the words before it. The share text ends with the line, unless that
has nothing but the first link. A list of bare links, or of share texts one a line, is never thinned out.
"""

import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.posts.finding import Found, find, locate
from tikhub_mcp.posts.links import Link, parse_link, platform_in, post_at
from tikhub_mcp.text import clean

MAX_CHOICES = 5  # posts that an error names

_LINE_END = re.compile(r"\r\n|\r|\n")
_SEPARATORS = re.compile(r"""[\s,;，；、"'“”‘’]+""")
_APP_SHORT_LINKS = ("https://vm.tiktok.com/", "https://vt.tiktok.com/")
# A cell or label that says whose link it is; the advertisement has the name in a sentence.
_LABEL = re.compile(r"""(?:^|[,;|\t"'])\s*TikTok\s*\d*\s*[,;|\t"':：]""")
_NEXT_CELL = re.compile(r'"[\s\]}]*[,;|\t]')  # behind the quote that ends a cell; no share text goes on there
_JSON_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a text.

    Attributes:
        links: Every link that is meant, in order, with the number of its line, as it stood but for escapes.
        without: The numbers of the lines that hold no link; nothing else of them may go anywhere.
        left_out: The other links, in the same form.
    """

    links: list[tuple[int, str]]
    without: list[int]
    left_out: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Candidate:
    """A link that may be meant.

    Attributes:
        line: The number of its line.
        unit: What is read as one: links in the same unit have the same number.
        link: The link.
        post: Where it leads; None where to no post.
        gap: The text between it and the link before it, or the start of the text.
        is_listed: Whether its line has nothing but links and separators.
        is_alone: Whether its line has nothing else that is visible.
    """

    line: int
    unit: int
    link: str
    post: Link | None
    gap: str
    is_listed: bool
    is_alone: bool


def one(text: str) -> Link:
    """The one post that a text links to; raises what `one_and_others` does."""
    return one_and_others(text)[0]


def one_and_others(text: str) -> tuple[Link, list[str]]:
    """The one post that a text links to, be it a bare link or a whole share text; and the links that are left out.

    Several links to the same post are one, and links to anything else do not count beside a post.

    Raises:
        InvalidInput: It links to different posts; the message names them.
        tikhub_mcp.errors.UnsupportedLink: It links to none; the message says what it links to instead.
    """
    candidates, _ = _read(*locate(text), [], is_list=False)
    posts, left_out = dict[str, Link](), list[str]()
    for candidate, is_meant in _judged(candidates):
        if not is_meant:
            left_out.append(candidate.link)
        elif candidate.post:
            posts.setdefault(candidate.post.key, candidate.post)
    if len(posts) > 1:
        first = ", ".join(post.url for post in list(posts.values())[:MAX_CHOICES])
        more = f" and {len(posts) - MAX_CHOICES} more" if len(posts) > MAX_CHOICES else ""
        raise InvalidInput(
            f"This links to {len(posts)} different posts: {first}{more}. Give one, or all of them to batch_download "
            "(on the command line: `tikhub-mcp batch`)."
        )
    if posts:
        return next(iter(posts.values())), left_out
    # None can be used: parse_link says why, of the first that is at least on our hosts.
    found = find(text)
    return parse_link(next(filter(platform_in, found), found[0] if found else text)), left_out


def parse_text(text: str) -> Lines:
    """What a pasted text holds; all of it is one unit, and a line may begin with a hashtag."""
    return _lines(*_read(*locate(text), [], is_list=False))


def parse_list(text: str) -> Lines:
    """What a list of links holds: text with one link or share text a line, a table, or JSON.

    Each line is a unit; in JSON each item of the outermost lists is one, and names its post once. Lines that start with
    # are comments, and blank lines count for nothing.
    """
    text, found = locate(text)
    candidates, without = _read(text, found, _records(text), is_list=True)
    seen = set[tuple[int, str]]()
    kept = []
    for candidate in candidates:
        key = candidate.unit, candidate.post.key if candidate.post else ""
        if candidate.unit > 0 or not candidate.post or key not in seen:  # the units of records are negative
            kept.append(candidate)
        seen.add(key)
    return _lines(kept, without)


def _read(
    text: str, found: list[Found], records: list[tuple[int, int]], *, is_list: bool
) -> tuple[list[_Candidate], list[int]]:
    candidates, without = list[_Candidate](), list[int]()
    # Half a million lines may hold nothing: no link is looked for, and no position kept, line by line.
    starts = [int(text.startswith("\ufeff")), *(match.end() for match in _LINE_END.finditer(text))]
    links = defaultdict[int, list[Found]](list)
    for link in found:
        links[bisect_right(starts, link.start)].append(link)
    end = 0  # of the link before
    for number, (start, stop) in enumerate(pairwise([*starts, len(text)]), start=1):
        content = text[start:stop].strip()
        if content.startswith("#") and (is_list or number not in links):
            continue
        if number in links:
            outside = _outside(text, start, stop, links[number])
            is_listed = not outside or _SEPARATORS.fullmatch(outside) is not None
            is_alone = len(links[number]) == 1 and not (outside and clean(outside))
            for link in links[number]:
                unit = _unit(link.start, records, number) if is_list else 0
                gap, post = text[end : link.start], post_at(link.link)
                candidates.append(_Candidate(number, unit, link.link, post, gap, is_listed, is_alone))
                end = link.end
        elif content and clean(content):
            without.append(number)
    return candidates, without


def _lines(candidates: list[_Candidate], without: list[int]) -> Lines:
    lines = Lines([], without)
    for candidate, is_meant in _judged(candidates):
        (lines.links if is_meant else lines.left_out).append((candidate.line, candidate.link))
    return lines


def _judged(candidates: list[_Candidate]) -> Iterator[tuple[_Candidate, bool]]:
    """Each candidate, and whether it is meant."""
    listed = _in_a_list(candidates)
    with_post = {candidate.unit for candidate in candidates if candidate.post}
    before = None
    for position, candidate in enumerate(candidates):
        beside_a_post = candidate.post is None and candidate.unit in with_post
        advertises = before is not None and _advertises(candidate, before)
        is_meant = position in listed or not (beside_a_post or advertises)
        yield candidate, is_meant
        before = candidate if is_meant else None  # a share text has one advertisement


def _in_a_list(candidates: list[_Candidate]) -> set[int]:
    """The positions of those that only separators keep from the one before or behind.

    Over the end of a line this holds only for lines without words: share texts may stand below each other.
    """
    listed = set[int]()
    for position, (this, following) in enumerate(pairwise(candidates)):
        if _SEPARATORS.fullmatch(following.gap):
            is_same_line = this.line == following.line
            listed |= {position} if is_same_line or this.is_listed else set()
            listed |= {position + 1} if is_same_line or following.is_listed else set()
    return listed


def _advertises(candidate: _Candidate, before: _Candidate) -> bool:
    """Whether a link is the one with which TikTok's share text advertises the app, where `before` is the post's."""
    if not candidate.post or not candidate.post.url.startswith(_APP_SHORT_LINKS):
        return False
    if not before.post or before.post.platform != "tiktok" or before.post.post_id is not None:
        return False
    if before.line == candidate.line:
        is_same_text = not _NEXT_CELL.search(candidate.gap)
    else:
        is_same_text = before.is_alone and before.line == candidate.line - 1
    words = _LINE_END.split(candidate.gap)[-1]
    return is_same_text and "TikTok" in _LABEL.sub("", words)


def _outside(text: str, start: int, stop: int, links: list[Found]) -> str:
    """What a line has beside its links."""
    edges = [start, *(edge for link in links for edge in (link.start, link.end)), stop]
    return "".join(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)).strip()


def _unit(start: int, records: list[tuple[int, int]], line: int) -> int:
    """The negative number of the record that a link stands in, or the number of its line."""
    record = bisect_right(records, (start, start))
    return -record if record and start < records[record - 1][1] else line


def _records(text: str) -> list[tuple[int, int]]:
    """Where in a JSON text the objects stand that are items of its outermost lists; none where it is no JSON."""
    try:
        json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return []
    return list(_outermost_items(text))


def _outermost_items(text: str) -> Iterator[tuple[int, int]]:
    opened = list[tuple[str, int]]()  # the brackets that are open, and where they stand
    lists = 0  # how many of them are lists
    for token in _JSON_TOKEN.finditer(text):
        if token[0] in ("[", "{"):
            opened.append((token[0], token.start()))
            lists += token[0] == "["
        elif token[0] in ("]", "}"):
            bracket, start = opened.pop()
            lists -= bracket == "["
            if bracket == "{" and lists == 1 and opened[-1][0] == "[":
                yield start, token.end()
