"""Decoding of raw files: the posts in each, or the reason why there is none.

An answer of another shape (such as an array instead of an object, or a number instead of a string) becomes a row with
`parse_ok` false and an error. NaN, Infinity and integers of more than 4,300 digits are treated as missing.
"""

import math
from collections.abc import Collection, Iterator

from msgspec import ValidationError, convert

from tikhub_mcp.posts.answer import (
    Json,
    LongInteger,
    check_utf_8,
    envelope_of,
    find_posts,
    parse_json,
    platform_asked,
    why_filtered,
    why_no_post,
)
from tikhub_mcp.summary import schema
from tikhub_mcp.summary.columns import COLUMNS
from tikhub_mcp.summary.rows import AnswerFields, Row, address_of, asked_link, id_text
from tikhub_mcp.summary.schema import ENVELOPE, OBJECTS, PostFields, RootFields
from tikhub_mcp.text import clean, writable

# Maximum bytes of an answer that msgspec cannot decode: json.loads takes four times its size for the text, and up to
# sixty times for the values. The largest known answers have 83 kB.
MAX_ODD_BYTES = 4 * 2**20

NO_JSON = "The file holds no readable JSON"
_OTHER_FORM = "The file is not in a form that this reads: no post is in it as TikHub's endpoints for one post give it."


def read_posts(name: str, body: bytes) -> list[AnswerFields | Row]:
    """Decode a raw file; return its posts, at least one, each as its fields or, if it cannot be read, as its row.

    A file without a post gives one row with the reason.

    Raises:
        ValueError: It is not valid JSON, or too large for the slower parser.
    """
    name = writable(name)
    try:
        check_utf_8(body)  # msgspec checks only the strings that it decodes
        root = schema.decode(body)
        posts = (root.data or root).posts()
    except (ValueError, RecursionError):  # an unexpected shape, a byte order mark or invalid JSON
        posts = []
    if posts:
        return [AnswerFields(name, root, post) for post in posts]
    if len(body) > MAX_ODD_BYTES:
        raise ValueError("it has more than 4 MiB, and is not as TikHub answers")
    return list(_lenient_posts(name, parse_json(body)))


def broken_row(name: str, why: str, value: Json = None, aweme_id: Json = None) -> Row:
    """Return the row of a file, or of a part of it, without a post.

    Args:
        name: The file's name.
        why: The reason, a sentence.
        value: The answer, from which the envelope's fields are taken if they are there.
        aweme_id: The id of the missing post; by default the one that was asked for, if it was asked for by its id.
    """
    envelope = envelope_of(value)
    name, params = writable(name), envelope.get("params")
    known = {
        "request_id": id_text(envelope.get("request_id")),
        "api_code": envelope.get("code"),
        "router": envelope.get("router"),
    }
    plain = {field: None if isinstance(item, dict | list) else item for field, item in known.items()}
    share_url, asked_id = asked_link(params), _object(params).get("aweme_id")
    platform = platform_asked(envelope.get("router"))
    of_post = address_of(platform, id_text(aweme_id)), share_url, address_of(platform, id_text(asked_id))
    plain |= {"share_url": share_url, "link": next(filter(None, of_post), None)}
    return dict.fromkeys(COLUMNS) | {"source_file": name, "parse_ok": False, "error": why} | plain


def is_foreign(read: AnswerFields | Row) -> bool:
    """Return whether what was read of a file is neither a post nor an answer without one."""
    if isinstance(read, AnswerFields) or any(read[field] for field in ("request_id", "api_code", "router")):
        return False
    return str(read["error"]).startswith((NO_JSON, _OTHER_FORM))


def _lenient_posts(name: str, value: Json) -> Iterator[AnswerFields | Row]:
    """Yield the posts of an answer that msgspec could not decode, after removing what no output can represent.

    Raises:
        ValueError: It is nested too deeply.
    """
    try:
        served, value = value, _tidy(value)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    posts = find_posts(value) or find_posts({"data": value})
    missing = list(_missing(name, value, posts))
    if not posts and len(missing) <= 1:  # one post was asked for, or nothing is known of several
        yield broken_row(name, _why(served), value)
        return
    # The envelope's fields may have any type; other keys beside them, which other tools may add, are ignored.
    root = RootFields(**{field: item for field, item in _object(value).items() if field in ENVELOPE})
    for number, post in enumerate(posts, start=1):
        if not post and missing:  # it stands in the place of a missing post
            yield missing.pop(0)
            continue
        try:
            yield AnswerFields(name, root, convert(post or None, PostFields))
        except ValidationError as error:
            which = f"Post {number} of {len(posts)}" if len(posts) > 1 else "The post"
            yield broken_row(name, f"{which} is not as TikHub answers: {clean(str(error))}.", value)
    yield from missing


def _missing(name: str, value: Json, posts: list[Json]) -> Iterator[Row]:
    """Yield a row for each post that was asked for together with others and is missing, as `filter_list` tells."""
    data = _object(_object(value).get("data")) or _object(value)
    if "aweme_details" not in data or (posts and posts is not data["aweme_details"]):  # one post was asked for
        return
    seen = [id_text(post.get("aweme_id")) for post in posts if isinstance(post, dict)]  # of any type, also unhashable
    listed = data.get("filter_list")
    for item in listed if isinstance(listed, list) else ():
        aweme_id = id_text(_object(item).get("aweme_id"))
        if isinstance(aweme_id, str) and aweme_id not in seen:
            seen.append(aweme_id)
            yield broken_row(name, f"The post {why_filtered(item)}.", value, aweme_id)


def _tidy(value: Json, objects: Collection[str] = OBJECTS) -> Json:
    """Return the value without what no output can represent, and with None for empty values of the keys in `objects`.

    These keys hold objects, arrays or strings. They are looked for at the top level and inside one another only. Below
    other keys, and below `music`, whose `author` may have any type, empty values stay as they are.
    """
    match value:
        case LongInteger():
            return None
        case str():
            return writable(value)
        case float() if not math.isfinite(value):
            return None
        case list():
            return [_tidy(item, objects) for item in value]
        case dict():
            return {
                writable(key): None
                if not item and key in objects
                else _tidy(item, objects if key in objects and key != "music" else ())
                for key, item in value.items()
            }
    return value


def _why(value: Json) -> str:
    """Return the reason why an answer has no post, as a sentence."""
    why = why_no_post(value)
    if why.kind == "missing":
        return f"The post {why.reason}."
    if why.kind == "other":
        return _OTHER_FORM
    return f"An error instead of a post, code {why.code}."


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
