"""The ends that hold where nobody says otherwise: promises to whoever pays or waits, so a change is on purpose."""

from pathlib import Path

import pytest

from tikhub_mcp.api import body, client, limiter, retry
from tikhub_mcp.jobs import worker
from tikhub_mcp.jobs.scheduler import Jobs
from tikhub_mcp.media import boxes, mp4, transfer
from tikhub_mcp.media.transfer import Limits
from tikhub_mcp.posts import aweme
from tikhub_mcp.settings.environment import Settings

A_SECOND, A_KIB, A_MIB, A_GIB = 1.0, 2**10, 2**20, 2**30
LIMITS = Limits()


@pytest.mark.parametrize(
    ("name", "end", "expected"),
    [
        ("A11 the API, in all", client.DEADLINE_SECONDS, 60 * A_SECOND),
        ("A14 the largest body", body.MAX_BODY_BYTES, 4 * A_MIB),
        ("A14 of larger ones one at a time", body.ORDINARY_BODY_BYTES, A_MIB / 4),
        ("A8 the longest rate limit that is waited for", retry.MAX_WAIT_SECONDS, 20 * A_SECOND),
        ("M10 calls in a second", limiter.CALLS_A_SECOND, 10),
        ("M10 connections to the API", client.MAX_CONNECTIONS, 10),
        ("M10 transfers, and with them connections to a CDN", worker.MAX_TRANSFERS, 10),
        ("D16 the longest pause that a CDN can ask for", LIMITS.longest_pause, 20 * A_SECOND),
        ("D19 the largest file", LIMITS.largest, 4 * A_GIB),
        ("D21 silence in a download", LIMITS.read_timeout, 10 * A_SECOND),
        ("D21 the least speed", LIMITS.slow_bytes / LIMITS.slow_seconds, A_KIB),
        ("D21 how soon it is missed", LIMITS.slow_seconds, 5 * A_SECOND),
        ("the largest index of a file", mp4.MAX_INDEX_BYTES, 32 * A_MIB),
        ("the boxes of a file", boxes.MAX_BOXES, 200_000),
        ("mirrors of a file", aweme.MAX_MIRRORS, 10),
        ("files of a post", aweme.MAX_RENDITIONS, 50),
        ("D23 hops", transfer.MAX_REDIRECTS, 5),
    ],
)
def test_the_ends_are_what_they_are_promised_to_be(name: str, end: float, expected: float) -> None:
    assert end == expected


def test_a_server_that_nobody_configures_has_these_ends(tmp_path: Path) -> None:
    made = Jobs.of(Settings("https://api.example", tmp_path))
    assert made._worker._downloader._limits == LIMITS
    assert made._worker._tikhub._deadline == client.DEADLINE_SECONDS
    assert made._worker._tikhub._connections._value == client.MAX_CONNECTIONS
    assert made._worker._tikhub._limiter._recent.maxlen == limiter.CALLS_A_SECOND
    assert made._worker._tikhub._limiter._window >= A_SECOND
    assert made._worker._transfers._value == worker.MAX_TRANSFERS
