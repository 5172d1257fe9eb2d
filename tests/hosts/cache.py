"""What is installed for these tests, once a machine, outside the repository."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

if sys.platform != "win32":
    import fcntl


def installed_once(name: str, pins: bytes, install: Callable[[Path], None]) -> Path:
    """The folder that `install` fills for these pins; it is made beside its place, and renamed when it is whole."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tikhub-mcp-tests"
    folder = cache / f"{name}-{hashlib.sha256(pins).hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other workers of this run wait here; the file's end lets go
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache) as made:
                half = Path(made) / "half"
                half.mkdir()
                install(half)
                half.rename(folder)
    return folder
