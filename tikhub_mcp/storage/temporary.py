"""Temporary folders, of which nothing remains after a later start if their process is killed."""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tikhub_mcp.storage.atomic import STALE_SECONDS

_PREFIX = "tikhub-mcp-work-"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder in the system's temporary directory, which is removed on exit.

    Removes those of killed processes first: folders of this user that are older than a day.

    Raises:
        OSError: It cannot be created.
    """
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.name.startswith(_PREFIX) and _is_stale(entry):
                    shutil.rmtree(entry.path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _is_stale(entry: "os.DirEntry[str]") -> bool:
    status = entry.stat(follow_symlinks=False)
    ours = os.name == "nt" or status.st_uid == os.getuid()  # other users may write to the directory as well
    return stat.S_ISDIR(status.st_mode) and ours and status.st_mtime < time.time() - STALE_SECONDS
