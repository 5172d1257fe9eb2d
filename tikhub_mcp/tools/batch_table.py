"""The table of a batch: a CSV file with one row for each entry, for whoever opens the folder later."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from tikhub_mcp.storage.atomic import make_folder, write_whole
from tikhub_mcp.summary import csv_cells
from tikhub_mcp.summary.outputs import BYTE_ORDER_MARK, LINE_END
from tikhub_mcp.text import writable
from tikhub_mcp.tools.schemas import BatchItem

TABLE_COLUMNS = ("line", "link", "post", "status", "author", "title", "likes", "plays", "file", "error")
LINK_COLUMN = "file_url"

_Row = tuple[str | int | None, ...]


def table_path(reports: Path, keys: Iterable[str]) -> Path:
    """Return the path of the table of a batch with these links, which is the same for a repeated batch."""
    digest = hashlib.sha256("\n".join(keys).encode("utf-8", "surrogatepass")).hexdigest()
    return reports / f"batch_{digest[:10]}.csv"


def write_table(path: Path, lines: Sequence[int], titles: Sequence[str | None], items: Sequence[BatchItem]) -> None:
    """Write the table of a batch, replacing an earlier one of the same links.

    Args:
        path: Where to write it; its folder is created.
        lines: For each entry, its line in the list, or its position among the links.
        titles: For each entry, the text of its post.
        items: The result of each entry.

    Raises:
        DiskFull, NotWritable: It could not be written.
    """
    make_folder(path.parent)
    columns: tuple[str, ...] = TABLE_COLUMNS
    rows = map(_row, lines, titles, items)
    if any(item.file_url for item in items):  # over HTTP
        columns, rows = (*columns, LINK_COLUMN), map(_with_link, rows, items)
    written = (",".join(columns).encode(), *map(csv_cells.line, rows))
    write_whole(path, BYTE_ORDER_MARK + b"".join(row + LINE_END for row in written))


def _row(line: int, title: str | None, item: BatchItem) -> _Row:
    metrics, error = item.metrics, item.error
    texts = (
        item.url,
        item.video_id,
        item.status,
        metrics.author if metrics else None,
        title,
        item.path,
        f"{error.code}: {error.message}" if error else _warning(item),
    )
    link, post, status, author, title, file, reason = (None if text is None else writable(text) for text in texts)
    counts = (metrics.likes, metrics.plays) if metrics else (None, None)
    return line, link, post, status, author, title, *counts, file, reason


def _with_link(row: _Row, item: BatchItem) -> _Row:
    return *row, item.file_url


def _warning(item: BatchItem) -> str | None:
    return f"warning: {'; '.join(item.warnings)}" if item.warnings else None
