"""Raw files → one table of posts: CSV for spreadsheets, JSON for programs.

Every file gives one row; one without a post says why. Values are the API's own: what stands where another type
belongs (a list for an object, an object for a number) counts as missing, and so do NaN and Infinity.
"""

import csv
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from tikhub_mcp.answer import Json, find_post, parse
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.files import PRIVATE, Part, make_folder, os_errors
from tikhub_mcp.text import clean, writable

CSV_NAME = "tikhub_videos_summary.csv"
JSON_NAME = "tikhub_videos_summary.json"
LARGEST_FILE = 64 * 2**20  # bytes; the largest answers known have 83 kB
LONGEST_DESC = 2000  # characters
LONGEST_CELL = 32_767  # UTF-16 units, in the CSV only: what Excel has beyond that, it takes for cells of their own

_CHUNK = 2**18  # bytes written at once, and enough of a summary to know it by
_MARKERS = (b'"generated_from"', b'"video_count"', b'"videos"')
# What spreadsheets run: their triggers, also behind blanks and quotes that they may strip, and DDE calls.
_FORMULA = re.compile(r"[\t\r\n]|[\s\"]*[=+\-@＝＋－＠]|\w+\|'.*'!")
_REASONS = {
    "5": "is private",
    "8": "is blocked for copyright reasons, or gone",
    "10": "is visible to some people only",
    "2053": "is not there any more, or private",
    "10204": "is not there any more, or private",
}

Row: TypeAlias = dict[str, Json]
Parts: TypeAlias = dict[str, dict[str, Json]]  # the objects of an answer that fields are taken from
Getter: TypeAlias = Callable[[Parts], Json]


class Stopped(Exception):
    """The caller wanted it to end; nothing was written."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written, from what; how many files were read, and how many of them held a post."""

    csv_path: Path
    json_path: Path
    source: Path
    rows: int
    parsed: int
    broken: int


def _plain(part: str, key: str) -> Getter:
    return lambda parts: _scalar(parts[part].get(key))


def _same(part: str, keys: str, prefix: str = "") -> dict[str, Getter]:
    return {prefix + key: _plain(part, key) for key in keys.split()}


def _text(part: str, key: str) -> Getter:
    return lambda parts: next(_texts([parts[part].get(key)]), "")


def _link(part: str) -> Getter:
    return lambda parts: next(_texts(parts[part].get("url_list")), "")


def _either(one: Getter, other: Getter) -> Getter:
    return lambda parts: one(parts) or other(parts)


def _id(get: Getter) -> Getter:
    """Numbers become text: ids exceed 2^53, and spreadsheets and JavaScript would round them."""
    return lambda parts: str(value) if type(value := get(parts)) is int else value


def _commerce(parts: Parts) -> Json:
    info = parts["post"].get("commerce_info")
    if not isinstance(info, dict):
        return None
    keys = ("auction_ad_invited", "ad_source", "adv_promotable")
    return {key: _scalar(info[key]) for key in keys if key in info} or {"_present": True}


def _hashtags(parts: Parts) -> str:
    return "|".join(_texts([extra.get("hashtag_name") for extra in _objects(parts["post"].get("text_extra"))]))


FIELDS: Final[dict[str, Getter]] = {
    **_same("row", "source_file parse_ok error"),
    "request_id": _id(_plain("envelope", "request_id")),
    "api_code": _plain("envelope", "code"),
    "api_message": _plain("envelope", "message"),
    "router": _plain("envelope", "router"),
    "share_url": _either(_text("params", "share_url"), _text("post", "share_url")),  # as asked, else the post's own
    "cache_url": _plain("envelope", "cache_url"),
    "aweme_id": _id(_plain("post", "aweme_id")),
    "desc": lambda parts: _text("post", "desc")(parts)[:LONGEST_DESC],
    "create_time_unix": _plain("post", "create_time"),
    "aweme_type": _plain("post", "aweme_type"),
    "content_desc": _text("post", "content_desc"),
    "author_nickname": _plain("author", "nickname"),
    "author_unique_id": _id(_plain("author", "unique_id")),
    "author_sec_uid": _id(_plain("author", "sec_uid")),
    "author_uid": _id(_plain("author", "uid")),
    **_same("author", "follower_count following_count aweme_count", "author_"),
    **_same("author", "verification_type account_region commerce_user_level", "author_"),
    **_same("statistics", "digg_count comment_count share_count play_count"),
    **_same("statistics", "collect_count download_count forward_count whatsapp_share_count"),
    "video_duration_ms": _plain("video", "duration"),
    **_same("play_addr", "width height", "video_"),
    **_same("video", "ratio has_watermark", "video_"),
    "cover_url": _link("cover"),
    "play_url_sample": _link("play_addr"),
    "music_id": _id(_either(_plain("music", "id_str"), _plain("music", "mid"))),
    "music_title": _plain("music", "title"),
    "music_author": _either(_plain("music", "owner_nickname"), _plain("music", "author")),
    **_same("music", "is_original_sound is_commerce_music commercial_right_type user_count", "music_"),
    "is_ads": _plain("post", "is_ads"),
    "commerce_info_min": _commerce,
    "aigc_created_by_ai": _plain("aigc_info", "created_by_ai"),
    "aigc_label_type": _plain("aigc_info", "aigc_label_type"),
    "hashtags": _hashtags,
    # This project's own: when the answer was given, and whether it is the newest of its post (set in writing).
    "as_of_unix": _plain("envelope", "time_stamp"),
    "is_newest": lambda _parts: None,
}
COLUMNS: Final = tuple(FIELDS)


def summarize(
    source: Path,
    out_dir: Path,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Summary:
    """Read one raw file, or every `*.json` directly in a folder, and write both summaries, or neither.

    Files are what a shell's `*.json` names, in any case and in order of name: regular files, not hidden ones, not
    links. Of these only a summary of our own is left out.

    Args:
        source: A file or folder; where it may lie is the caller's business.
        out_dir: Made where it is missing.
        progress: Told the files done and the files in all, after each.
        stopped: Asked before each file, and before the outputs appear.

    Raises:
        InvalidInput: There is nothing to read.
        DiskFull, NotWritable: The outputs could not be written.
        Stopped: `stopped` said so.
    """
    source = source.absolute()
    folder, names = _inputs(source)
    make_folder(out_dir)

    def rows() -> Iterator[Row]:
        for done, name in enumerate(names, 1):
            if stopped():
                raise Stopped
            yield _row(folder, name)
            progress(done, len(names))

    with _Output(out_dir / CSV_NAME) as table, _Output(out_dir / JSON_NAME) as document:
        head = f'"generated_from": {_json(str(source))},\n  "video_count": {len(names)}'
        document.write(f'{{\n  {head},\n  "videos": [\n')
        parsed = _write(rows(), table, document)
        document.write("\n  ]\n}\n")
        table.finish()
        document.finish()
        if stopped():
            raise Stopped
        # The table first: on Windows a spreadsheet that shows it locks it, and then the document stays old, too.
        for output in (table, document):
            with os_errors(output.target):
                output.commit()
    return Summary(table.target, document.target, source, len(names), parsed, len(names) - parsed)


def _inputs(source: Path) -> tuple[Path, list[str]]:
    """The folder, and the names in it to read, one or more."""
    try:
        if stat.S_ISDIR(source.stat().st_mode):
            folder, names = source, _names(source)
        else:
            folder, names = source.parent, [source.name] if stat.S_ISREG(source.lstat().st_mode) else []
    except OSError as error:
        raise InvalidInput(f"{clean(str(source))} cannot be read: {error.strerror}.") from error
    names = sorted(name for name in names if not _is_summary(folder / name))
    if not names:
        raise InvalidInput(
            f"Nothing to read in {clean(str(source))}: give a raw JSON file, or a folder that holds some. "
            "Links, hidden files, special files and earlier summaries do not count."
        )
    return folder, names


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        files = (entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        return [name for name in files if name.lower().endswith(".json") and not name.startswith(".")]


def _careful(path: str, flags: int) -> int:
    """Open what may have become a link or a pipe since it was listed: not followed, not waited for."""
    more = ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY")  # Windows has none of them
    return os.open(path, flags | sum(getattr(os, name, 0) for name in more))


def _is_summary(path: Path) -> bool:
    """Whether it is an output of ours, by name and content."""
    if path.name.lower() != JSON_NAME:
        return False
    try:
        with open(path, "rb", opener=_careful) as file:
            head = file.read(_CHUNK) or b""
    except OSError:
        return False  # its row will say what is wrong
    return all(marker in head for marker in _MARKERS)


def _row(folder: Path, name: str) -> Row:
    try:
        root = parse(_read(folder / name))
    except OSError as error:
        return _broken(name, f"The file cannot be read: {error.strerror}.", None)
    except ValueError as error:
        return _broken(name, f"The file holds no readable JSON: {error}.", None)
    # Other tools save the body without TikHub's envelope, or the bare post.
    post = find_post(root) or find_post({"data": root})
    if post is None:
        return _broken(name, _why(root), root)
    parts = _parts(root, post) | {"row": {"source_file": name, "parse_ok": True}}
    return {field: get(parts) for field, get in FIELDS.items()}


def _broken(name: str, why: str, root: Json) -> Row:
    parts = _parts(_envelope(root), {})
    known = {field: FIELDS[field](parts) for field in ("request_id", "api_code", "router", "share_url")}
    return dict.fromkeys(COLUMNS) | {"source_file": name, "parse_ok": False, "error": why} | known


def _read(path: Path) -> bytes:
    """The whole file, as it was at one moment.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not what can be read as a raw file, which the text says.
    """
    with open(path, "rb", opener=_careful) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise ValueError("it is no regular file")
        if before.st_size > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE} bytes")
        body = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    if len(body) != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise ValueError("it changed while it was read")
    if not body:
        raise ValueError("it is empty")
    return body


def _parts(envelope: dict[str, Json], post: dict[str, Json]) -> Parts:
    parts = {"envelope": envelope, "params": _object(envelope.get("params")), "post": post}
    for key in ("author", "statistics", "video", "music", "aigc_info"):
        parts[key] = _object(post.get(key))
    return parts | {key: _object(parts["video"].get(key)) for key in ("play_addr", "cover")}


def _envelope(root: Json) -> dict[str, Json]:
    """What holds code, request_id and router: in TikHub's errors that is one level down."""
    return _object(_object(root).get("detail")) or _object(root)


def _why(root: Json) -> str:
    """Why there is no post, as far as the answer says."""
    envelope = _envelope(root)
    data = _object(envelope.get("data")) or envelope
    reasons = [item.get("reason") for item in _objects(data.get("filter_list"))]
    for reason in map(_scalar, (*reasons, data.get("status_code"), data.get("statusCode"))):
        if str(reason) in _REASONS:
            return f"The post {_REASONS[str(reason)]}."
    code = _scalar(envelope.get("code"))
    if code not in (None, 200) or "detail" in _object(root):
        said = next(_texts([envelope.get("message"), envelope.get("message_zh")]), "TikHub does not say which")
        return f"An error instead of a post, code {'unknown' if code is None else clean(str(code), 20)}: {clean(said)}"
    if {"data", "aweme_detail", "aweme_details"} & envelope.keys():
        return "The post is not available (private, deleted or blocked; TikHub does not say which)."
    return "Not an answer of TikHub's: no post is in it."


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _objects(value: Json) -> list[dict[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(value: Json) -> Iterator[str]:
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, str) and item)


def _scalar(value: Json) -> Json:
    lost = isinstance(value, dict | list) or (isinstance(value, float) and not math.isfinite(value))
    return None if lost else value


def _json(value: Json, between: str = ", ") -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(between, ": "))


def _cell(value: Json) -> Json:
    """A value as spreadsheets may have it: no text that they would run, no NUL, at which some stop reading."""
    if isinstance(value, bool | dict):
        value = _json(value)
    if not isinstance(value, str):
        return value
    text = value.replace("\0", "")
    if _FORMULA.match(text):
        text = f"'{text}"
    if len(text) > LONGEST_CELL // 2:
        text = text.encode("utf-16-le", "surrogatepass")[: 2 * LONGEST_CELL].decode("utf-16-le", "replace")
    return text


class _Output(Part):
    """A private file that is written in large pieces, and corrected before it appears."""

    def __init__(self, target: Path) -> None:
        with os_errors(target):
            if os.path.lexists(target) and not (target.is_file() or target.is_symlink()):
                raise OSError(0, "what is there is no file")
            super().__init__(target, PRIVATE)
        self.overtaken: list[int] = []  # where a 1 becomes a 0
        self._pending = bytearray()
        self._size = 0

    def write(self, text: str) -> int:
        """Append, and tell where that ends, in bytes."""
        try:
            content = text.encode()
        except UnicodeEncodeError:
            content = writable(text).encode()
        self._pending += content
        self._size += len(content)
        if len(self._pending) >= _CHUNK:
            self._flush()
        return self._size

    def finish(self) -> None:
        self._flush()
        with os_errors(self.target):
            for position in self.overtaken:
                self.file.seek(position)
                self.file.write(b"0")

    def _flush(self) -> None:
        with os_errors(self.target):
            while self._pending:
                del self._pending[: self.file.write(self._pending)]


def _write(rows: Iterable[Row], table: _Output, document: _Output) -> int:
    """Write the rows, and count those with a post.

    A post may come often: a history of its metrics. Which row is its newest shows only at the end, and no row is
    kept until then, so each is written as it seems, and those that were overtaken are corrected.
    """
    writer = csv.writer(table)
    table.write("\ufeff")
    writer.writerow(COLUMNS)
    newest: dict[str, tuple[float, int, int]] = {}  # id → when, and where its mark is in each output
    parsed, between = 0, ""
    for row in rows:
        post, time = row["aweme_id"], row["as_of_unix"]
        when = time if isinstance(time, int | float) else 0
        earlier = newest.get(post)
        if post:
            row["is_newest"] = int(earlier is None or when >= earlier[0])
        table_end = writer.writerow(map(_cell, row.values()))
        members = _json(row, ",\n      ")[1:-1]
        document_end = document.write(f"{between}    {{\n      {members}\n    }}")
        if row["is_newest"]:
            if earlier:
                table.overtaken.append(earlier[1])
                document.overtaken.append(earlier[2])
            newest[post] = (when, table_end - len("1\r\n"), document_end - len("1\n    }"))
        parsed, between = parsed + row["parse_ok"], ",\n"
    return parsed
