"""What a refusal of TikHub's, or a cap, leaves of a batch: no more is paid for than may be, and the rest is told."""

import time

import pytest

from tests.support.mcp_session import Desk, patience
from tikhub_mcp.sandbox import good_links, link

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TIKTOK, DOUYIN = good_links(4), good_links(4, "douyin")
MIXED = [TIKTOK[0], *DOUYIN, *TIKTOK[1:]]


@pytest.mark.parametrize(
    ("ending", "code"), [("no-scope-douyin", "permission_denied"), ("no-credit-douyin", "insufficient_balance")]
)
async def test_a_platform_that_the_key_is_refused_for_leaves_the_other_alone(
    desk: Desk, ending: str, code: str
) -> None:
    desk.environ["TIKHUB_API_KEY"] = f"a-key-{ending}"
    reply = await desk.batch(MIXED, max_workers=1, metrics_only=True)
    assert (reply["status"], reply.is_error) == ("stopped", False)
    assert reply.statuses == ["ok", "failed", *["skipped"] * 3, *["ok"] * 3]
    assert (reply.code, reply["error"]["stop"]) == (code, True)
    assert reply.message.startswith("Stop this task now: TikHub refused a request for a Douyin post (HTTP 40")
    assert reply.message.endswith(" This concerns Douyin only.")
    assert reply["error"]["tell_human"].endswith(" This concerns Douyin only.")
    assert (reply["cost"]["api_calls"], len(desk.asked)) == (4, 5)
    assert reply["retry_urls"] == DOUYIN[1:]
    desk.environ["TIKHUB_API_KEY"] = "a-key-that-may-do-all"
    again = await desk.batch(MIXED, metrics_only=True)
    assert (again["status"], again["succeeded"], again["cost"]["api_calls"]) == ("complete", 8, 4)


@pytest.mark.parametrize(
    ("name", "code"),
    [("bad_key", "api_key_invalid"), ("unverified", "permission_denied"), ("disabled", "permission_denied")],
)
@pytest.mark.parametrize("platform", ["tiktok", "douyin"])
async def test_a_refusal_of_the_key_or_the_account_stops_both_platforms(
    desk: Desk, name: str, code: str, platform: str
) -> None:
    reply = await desk.batch([link(name, platform), DOUYIN[0], TIKTOK[0]], max_workers=1)
    assert (reply["status"], reply.is_error, reply.code) == ("stopped", True, code)
    assert reply.statuses == ["failed", "skipped", "skipped"]
    assert "only" not in reply.message
    assert len(desk.asked) == 1


async def test_the_first_of_two_refusals_is_that_of_the_batch_and_with_both_nothing_more_is_asked_for(
    desk: Desk,
) -> None:
    reply = await desk.batch([link("no_balance"), link("no_scope"), DOUYIN[0], TIKTOK[0]], max_workers=1)
    assert (reply["status"], reply.is_error, reply.code) == ("stopped", True, "insufficient_balance")
    assert "Douyin" in reply.message
    assert reply.statuses == ["failed", "failed", "skipped", "skipped"]
    assert len(desk.asked) == 2


async def test_what_a_cap_leaves_out_waits_for_no_turn_of_the_rate_limit(desk: Desk) -> None:
    began = time.monotonic()
    reply = await desk.batch(good_links(150), metrics_only=True, max_api_calls=10)
    assert time.monotonic() - began < patience(5)  # 150 turns would take 15 s
    assert (reply["status"], reply["succeeded"], reply["skipped"]) == ("stopped", 10, 140)
    assert (reply.code, len(desk.asked)) == ("api_call_limit", 10)
