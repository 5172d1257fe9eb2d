r"""Text → the links in it, as strings with their positions; whose they are is not decided here.

Reading takes three steps. Decode: links that JSON, a script, HTML or a query has escaped (`\/`, `\u002F`, `&#x2F;`,
`%2F`). Find: where candidate links begin and end. Trim: what merely stands behind a link.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple
from urllib.parse import unquote

# Which links are ours. Another host, app or form of short link is another entry here.
DOMAINS: dict[Literal["tiktok", "douyin"], tuple[str, ...]] = {  # their subdomains count too
    "tiktok": ("tiktok.com", "tiktokv.com", "tiktokv.us", "tiktokv.eu"),
    "douyin": ("douyin.com", "iesdouyin.com", "amemv.com"),
}
# Schemes of links that only an app opens: 1233 is TikTok, 1180 its Asian edition, 1340 TikTok Lite; 1128 is Douyin,
# 2329 Douyin Lite.
APP_SCHEMES: dict[Literal["tiktok", "douyin"], tuple[str, ...]] = {
    "tiktok": ("snssdk1233", "snssdk1180", "snssdk1340", "tiktok", "musically"),
    "douyin": ("snssdk1128", "snssdk2329"),
}
SHORT_LINKS = ("www.tiktok.com/t/", "tiktok.com/t/", "vm.tiktok.com/", "vt.tiktok.com/", "v.douyin.com/")  # + code

# Compiled once. (?ai): without the a, other letters fold to ASCII ones where case is ignored, as the Kelvin sign to k.
_WEB = r"(?ai:https?)://"
_APP = rf"(?<![a-zA-Z0-9+.-])(?ai:{'|'.join(sum(APP_SCHEMES.values(), ()))})://"
SCHEME = re.compile(f"{_WEB}|{_APP}")
_OUR_HOST = rf"(?ai:(?:[a-z0-9-]+\.)*(?:{'|'.join(map(re.escape, sum(DOMAINS.values(), ())))})\.?)"
OUR_HOST = re.compile(_OUR_HOST)
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
    rf"(?P<address>(?:{SCHEME.pattern})[^{_STOP}!-/:-@\[-`{{-~][^{_STOP}/?#]*)"
    rf"(?:(?P<rest>[/?#]{_REST})|[^\s!-~]\S*)?"
)
_BARE = rf"{_OUR_HOST}(?::[0-9]+)?/"  # without a scheme, only our hosts, and only with a path, make a link
# Not the tail of another name, address or link, but right behind Chinese text. This also keeps a long name from being
# tried at each of its letters.
_FREE = rf"(?:(?<![\w.@/\\%=&?#$^~＠－\u2010\u2011-])|(?<=[{_CJK}]))"
_NOT_IN_URL = "".join(rf"(?<!(?ai:{scheme}:))" for scheme in ("script", "data", "file"))
_BARE_LINK = re.compile(_FREE + _NOT_IN_URL + _BARE + _REST)
_NEXT_LINK = re.compile(rf"(?={SCHEME.pattern}|[,;|]{_BARE})")
_SHORT_LINK = re.compile(rf"(?:{_WEB})?(?ai:{'|'.join(map(re.escape, SHORT_LINKS))})[!-~]*")
_CLOSING = ".,;:!?()[]{}<>\"'*|~+"  # where a link ends with them, they are the sentence's or its markup's
# A character as JSON, a script or HTML may write it; a backslash may have been doubled any number of times.
_ESCAPED = re.compile(r"(?<!\\)\\++(?:/|(?:u00|x)(?P<code>2[6fF]|3[adfADF]|40))|&#(?:x2[fF]|47);")
# A link that was percent-encoded as a whole: its scheme, or the slash behind our host. %252F was encoded twice.
_ENCODED_HOST = rf"{_OUR_HOST}(?=(?ai:%(?:25)*2f))"
_ENCODED = re.compile(
    rf"(?:{_FREE}(?:(?ai:https?%(?:25)*3a%(?:25)*2f%(?:25)*2f)|{_ENCODED_HOST})|{_WEB}{_ENCODED_HOST}){_REST}"
)
_DELIMITER = re.compile("%(?:2[356fF]|3[adfADF]|40)")  # # % & / : = ? @
_MAX_ENCODINGS = 3


class Found(NamedTuple):
    """A link in a decoded text: `text[start:end]`."""

    link: str
    start: int
    end: int


def unescape(text: str) -> str:
    """Return the text with the escapes in its links undone; it has the same lines."""
    if "\\" in text or "&#" in text:
        text = _ESCAPED.sub(lambda match: chr(int(match["code"], 16)) if match["code"] else "/", text)
    return _ENCODED.sub(lambda match: _decode_percent(match[0]), text) if "%" in text else text


def decode_delimiters(text: str) -> str:
    """Return the text with the percent-encoded delimiters of a link undone once, and nothing else."""
    return _DELIMITER.sub(lambda match: unquote(match[0]), text)


def find(text: str) -> list[str]:
    """Every http(s) and app link in a text, and every link to our hosts without a scheme: decoded, in order."""
    return [found.link for found in locate(text)[1]]


def locate(text: str) -> tuple[str, list[Found]]:
    """The text with the escapes in its links undone, and the links in it: trimmed, in order."""
    decoded = unescape(text)
    return decoded, list(_links(decoded))


def _links(text: str) -> Iterator[Found]:
    """The links of a decoded text.

    No link reaches into the next one, so the text is first cut where one is certain to begin: at every scheme, and
    where a link to our hosts follows a separator. A piece holds at most one link with a scheme, at its start.
    """
    cuts = (match.start() for match in _NEXT_LINK.finditer(text))
    for start, end in pairwise([0, *cuts, len(text)]):
        position = start
        if link := _LINK.match(text, start, end):
            yield _trimmed(link["address"] + (link["rest"] or ""), start)
            position = link.end()
        for bare in _BARE_LINK.finditer(text, position, end):
            yield _trimmed(bare[0], bare.start())


def _trimmed(link: str, start: int) -> Found:
    """A link without what merely stands behind it: closing punctuation, and after a short link all but ASCII."""
    short = _SHORT_LINK.match(link)
    link = (short[0] if short else link).rstrip(_CLOSING)
    return Found(link, start, start + len(link))


def _decode_percent(link: str) -> str:
    """Undo as many encodings as the whole link has had; a link in its query has had one more."""
    first = re.search("%((?:25)*)", link)
    for _ in range(min(len(first[1]) // 2 + 1, _MAX_ENCODINGS) if first else 0):
        link = decode_delimiters(link)
    return link
