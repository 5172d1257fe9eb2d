"""Pasted text → the posts it links to. Pure: nothing is looked up, nothing is paid.

Reading takes three steps. Find: where candidate links begin and end in a text. Trim: what merely stands behind a link.
Classify: whose link it is, by its whole host, and which post or short link it names, by the tables below.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tikhub_mcp.errors import InvalidInput, UnsupportedLink
from tikhub_mcp.text import clean

Platform = Literal["tiktok", "douyin"]

MAX_LINK_LENGTH = 2000  # characters; with all its tracking parameters a real one has about 600
MAX_CHOICES = 5  # posts that an error names

# The forms of links. Another form is another line in one of these tables.
_DOMAINS: dict[Platform, tuple[str, ...]] = {  # their subdomains count too
    "tiktok": ("tiktok.com", "tiktokv.com", "tiktokv.us", "tiktokv.eu"),
    "douyin": ("douyin.com", "iesdouyin.com", "amemv.com"),
}
_PATHS: dict[Platform, tuple[str, ...]] = {  # how the path of a post begins, upper or lower case
    "tiktok": (
        "/@{user}/{kind}/{id}",
        "/%40{user}/{kind}/{id}",
        "/share/{kind}/{id}",
        "/i18n/share/{kind}/{id}",
        "/embed/{id}",
        "/embed/v2/{id}",
        "/player/v1/{id}",
        "/v/{id}",
    ),
    "douyin": ("/{kind}/{id}", "/share/{kind}/{id}", "/m/{kind}/{id}"),
}
_KINDS: dict[Platform, str] = {"tiktok": "video|photo", "douyin": "video|note|slides"}
# The parameters of the query that hold the id of the post that is open on a page, the most telling first.
_PARAMETERS: dict[Platform, tuple[str, ...]] = {"tiktok": (), "douyin": ("modal_id", "vid", "aweme_id", "item_id")}
_SHORT_LINKS = ("www.tiktok.com/t/", "tiktok.com/t/", "vm.tiktok.com/", "vt.tiktok.com/", "v.douyin.com/")  # + code
_LIVE_HOSTS = ("live.", "webcast.")
_PAGES = {  # what else is pasted, by a folder of its path; the first that fits
    ("live", "webcast"): "a live room",
    ("music",): "a piece of music",
    ("tag", "hashtag", "challenge"): "a tag",
    ("playlist", "mix", "mixdetail", "collection"): "a playlist, mix or collection",
    ("user",): "a profile",
}

# Compiled once. (?ai): without the a, other letters fold to ASCII ones where case is ignored, as the Kelvin sign to k.
_SCHEME = re.compile(r"(?ai:https?)://")
_OUR_HOST = rf"(?ai:(?:[a-z0-9-]+\.)*(?:{'|'.join(map(re.escape, sum(_DOMAINS.values(), ())))})\.?)"
# What no link goes beyond: white space, controls, quotes, general punctuation, symbols, CJK and full-width punctuation,
# lone surrogates, private use, emoji, tags. Chinese letters are not among them: they occur in paths and queries.
_STOP = (
    r'\s\x00-\x1f"<>`\x7f-\xbf\u061c\u180e\u2000-\u206f\u2190-\u2bff\u3000-\u3004\u3008-\u303f\ud800-\uf8ff'
    r"\ufe00-\ufe6f\ufeff\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffff"
    r"\U0001f000-\U0001faff\U000e0000-\U0010ffff"
)
_CJK = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_REST = rf"[^{_STOP}\\]*"  # path, query and fragment
# What is glued to a host without a path is the rest of its name, and no link of its own: https://evil＿douyin.com/…
_LINK = re.compile(
    rf"(?P<address>{_SCHEME.pattern}[^{_STOP}!-/:-@\[-`{{-~][^{_STOP}/?#]*)(?:(?P<rest>[/?#]{_REST})|[^\s!-~]\S*)?"
)
_BARE = rf"{_OUR_HOST}(?::[0-9]+)?/"  # without a scheme, only our hosts, and only with a path, make a link
# Not the tail of another name, address or link, but right behind Chinese text. This also keeps a long name from being
# tried at each of its letters.
_FREE = rf"(?:(?<![\w.@/\\%=&?#$^~＠－\u2010\u2011-])|(?<=[{_CJK}]))"
_NOT_IN_URL = "".join(rf"(?<!(?ai:{scheme}:))" for scheme in ("script", "data", "file"))
_BARE_LINK = re.compile(_FREE + _NOT_IN_URL + _BARE + _REST)
_NEXT_LINK = re.compile(rf"(?={_SCHEME.pattern}|[,;|]{_BARE})")
_SHORT_LINK = re.compile(rf"(?:{_SCHEME.pattern})?(?ai:{'|'.join(map(re.escape, _SHORT_LINKS))})[!-~]*")
_CLOSING = ".,;:!?()[]{}<>\"'*|~+"  # where a link ends with them, they are the sentence's or its markup's
_ID = r"(?P<id>[0-9]{5,25})(?![\w-]|%3[0-9])"
_FIELDS = {"user": "(?P<user>[^/]*)", "id": _ID}
_IN_PATH = {
    site: [re.compile("(?ai)" + path.format(kind=f"(?P<kind>{_KINDS[site]})", **_FIELDS)) for path in paths]
    for site, paths in _PATHS.items()
}
# `&amp;` is an `&` too, hence the semicolon.
_IN_QUERY = {site: [re.compile(rf"(?a)[?&;]{name}={_ID}") for name in names] for site, names in _PARAMETERS.items()}
_CODE = re.compile(r"(?a)[\w-]{1,64}(?![\w-])")
_HOST_AND_PORT = re.compile(r"(?P<host>[\w-]+(?:\.[\w-]+)+\.?)(?P<port>:[0-9]{0,5})?")


@dataclass(frozen=True, slots=True)
class Link:
    """The address of one post, as far as it tells.

    Attributes:
        given: The link as it stood in the text; usable again as input.
        platform: Whose post it is.
        url: What TikHub is asked for: canonical, https, without query and fragment.
        post_id: The post's id; None for a short link, until it is answered.
        key: The same for links to the same post, as far as they tell: `tiktok:ID`, or the short link.
    """

    given: str
    platform: Platform
    url: str
    post_id: str | None
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = f"{self.platform}:{self.post_id}" if self.post_id else self.url
        object.__setattr__(self, "key", key)  # the class is frozen


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a text.

    Attributes:
        links: Every link, in order, with the number of its line, as it stood.
        without: The numbers of the lines that hold none; nothing else of them may go anywhere.
    """

    links: list[tuple[int, str]]
    without: list[int]


class _Address(NamedTuple):
    """A link to one of our hosts, split into its parts."""

    platform: Platform
    host: str  # in lower case, without a final dot
    path: str
    query: str  # with its question mark


def find(text: str) -> list[str]:
    """Every http(s) link in a text, and every link to our hosts without a scheme: in order, as they stood."""
    return list(_links(text))


def parse_link(url: str) -> Link:
    """Understand one link, with or without a scheme.

    Raises:
        UnsupportedLink: It does not lead to one post; the message says what it is instead.
    """
    text = url.strip()
    # What is too long, or holds anything blank, invisible or a backslash, is no single link.
    is_plain = len(text) <= MAX_LINK_LENGTH and not set(" \\") & set(text) and clean(text, MAX_LINK_LENGTH) == text
    given = next(_links(text), "") if is_plain else ""
    if not given or not text.startswith(given):
        raise UnsupportedLink(
            "There is no link to a post in this. Give the address of one TikTok or Douyin video, such as "
            "https://www.tiktok.com/@USER/video/ID or https://v.douyin.com/CODE/."
        )
    address = _address(given)
    if address is None:
        raise UnsupportedLink(
            f"This link leads to {_shown_host(given) or 'another site'}. Only links to posts on tiktok.com and "
            "douyin.com can be used, without a user name or a port in them."
        )
    link = _post(given, address) or _short_link(given, address)
    if link is None:
        page = _page(address)
        raise UnsupportedLink(f"This link leads to {page}. Open one video, and give the link its share button copies.")
    return link


def platform_in(text: str) -> Platform | None:
    """Whose the first link to one of our hosts in a text is; None where there is none."""
    return next((address.platform for address in map(_address, _links(text)) if address), None)


def one(text: str) -> Link:
    """The one post that a text links to, be it a bare link or a whole share text.

    Several links to the same post are one, and links to anything else do not count beside a post.

    Raises:
        InvalidInput: It links to different posts; the message names them.
        UnsupportedLink: It links to none; the message says what it links to instead.
    """
    found = find(text)
    posts: dict[str, Link] = {}
    for link in found:
        with suppress(UnsupportedLink):
            post = parse_link(link)
            posts.setdefault(post.key, post)
    if len(posts) > 1:
        first = ", ".join(post.url for post in list(posts.values())[:MAX_CHOICES])
        more = f" and {len(posts) - MAX_CHOICES} more" if len(posts) > MAX_CHOICES else ""
        raise InvalidInput(f"This links to {len(posts)} different posts: {first}{more}. Give one, or all to the batch.")
    if posts:
        return next(iter(posts.values()))
    # None can be used: parse says why, of the first that is at least on our hosts.
    return parse_link(next(filter(_address, found), found[0] if found else text))


def parse_list(text: str, *, comments: bool = True) -> Lines:
    """What a list of links holds, line by line; blank lines count for nothing.

    Args:
        text: The list.
        comments: Whether a line that starts with # is skipped; in a share text such a line may begin with a hashtag.
    """
    found, without = list[tuple[int, str]](), list[int]()
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")), start=1):
        is_comment = line.lstrip().startswith("#")
        here = [] if is_comment and comments else find(line)
        found += [(number, link) for link in here]
        if not here and not is_comment and clean(line):
            without.append(number)
    return Lines(found, without)


def shown(link: str) -> str:
    """A link that stood among other people's text, fit for a reply.

    Of any but our sites' only scheme and host; of theirs what comes before the next cell of a table.
    """
    if _address(link):
        return _first_cell(link)
    host = _shown_host(link).partition(":")[0]
    return f"{_split(link)[0]}{host}{'/' if host else ''}…"


def named(link: Link) -> str:
    """What messages call the post that a link leads to."""
    return f"post {link.post_id}" if link.post_id else f"the post behind {link.url}"


# Find: where candidate links begin and end.
def _links(text: str) -> Iterator[str]:
    """The links of a text, trimmed.

    No link reaches into the next one, so the text is first cut where one is certain to begin: at every scheme, and
    where a link to our hosts follows a separator. A piece holds at most one link with a scheme, at its start.
    """
    for piece in _NEXT_LINK.split(text):
        position = 0
        if link := _LINK.match(piece):
            yield _trim(link["address"] + (link["rest"] or ""))
            position = link.end()
        for bare in _BARE_LINK.finditer(piece, position):
            yield _trim(bare[0])


# Trim: what merely stands behind a link.
def _trim(link: str) -> str:
    """A link without what merely stands behind it: closing punctuation, and after a short link all but ASCII."""
    short = _SHORT_LINK.match(link)
    return (short[0] if short else link).rstrip(_CLOSING)


def _first_cell(link: str) -> str:
    """A link without the next cells of its table, or the whole one where only that leads to its post."""
    shorter = re.split("[,;|]", link, maxsplit=1)[0]
    try:
        key = parse_link(link).key
    except UnsupportedLink:
        return shorter
    with suppress(UnsupportedLink):
        return shorter if parse_link(shorter).key == key else link
    return link


# Classify: whose link it is, and what it names.
def _split(link: str) -> tuple[str, str, str]:
    """The scheme of a link in lower case, its authority, and the rest.

    Not urlsplit: it raises an error for brackets, and drops tabs and line ends.
    """
    start = scheme.end() if (scheme := _SCHEME.match(link)) else 0
    authority = re.split("[/?#]", link[start:], maxsplit=1)[0]
    return link[:start].lower(), authority, link[start + len(authority) :]


def _address(link: str) -> _Address | None:
    """A link split into its parts; None where its host is not ours, or has a user name or an unusual port."""
    scheme, authority, rest = _split(link)
    host = authority.removesuffix(":80" if scheme == "http://" else ":443")
    if not re.fullmatch(_OUR_HOST, host):
        return None
    host = host.lower().rstrip(".")
    platform = next(platform for platform, domains in _DOMAINS.items() if host.endswith(domains))
    path, mark, query = rest.partition("#")[0].partition("?")
    return _Address(platform, host, path, mark + query)


def _post(given: str, address: _Address) -> Link | None:
    """The post whose id stands in the path or, with less weight, in the query."""
    platform = address.platform
    matches = [pattern.match(address.path) for pattern in _IN_PATH[platform]]
    if not address.host.startswith(_LIVE_HOSTS):
        matches += [pattern.search(address.query) for pattern in _IN_QUERY[platform]]
    match = next(filter(None, matches), None)
    if match is None:
        return None
    parts = match.groupdict(default="")
    kind = parts.get("kind", "").lower() or "video"
    user = re.fullmatch(r"(?a)[\w.-]{1,30}", parts.get("user", ""))
    site = "www.douyin.com" if platform == "douyin" else f"www.tiktok.com/@{user[0] if user else ''}"
    return Link(given, platform, f"https://{site}/{kind}/{parts['id']}", parts["id"])


def _short_link(given: str, address: _Address) -> Link | None:
    """The short link that an address is; /t/ makes one on any subdomain of tiktok.com."""
    addresses = [address.host + address.path]
    if f".{address.host}".endswith(".tiktok.com"):
        addresses.insert(0, f"www.tiktok.com{address.path}")
    for text in addresses:
        for start in _SHORT_LINKS:
            if text.startswith(start) and (code := _CODE.match(text, len(start))):
                return Link(given, address.platform, f"https://{start}{code[0]}/", None)
    return None


def _page(address: _Address) -> str:
    """What an address that names no post leads to instead."""
    if address.host.startswith(_LIVE_HOSTS):
        return "a live room"
    folders = set(address.path.split("/"))
    for names, page in _PAGES.items():
        if not folders.isdisjoint(names):
            return page
    is_profile = address.path.removesuffix("/").rpartition("/")[2].startswith(("@", "%40"))
    return "a profile" if is_profile else "a page that names no post"


def _shown_host(link: str) -> str:
    """The host of any link, and its port; empty where a part of a password may stand in its place.

    Only a name with a dot is a host: any other may be the user's name, where the password holds a slash as it is.
    """
    _, authority, rest = _split(link)
    match = _HOST_AND_PORT.fullmatch(authority.rpartition("@")[2])
    if match is None or (match["port"] and "@" in rest):
        return ""
    return clean(match["host"], 100) + (match["port"] or "")
