"""What is a person's own stays so: keys, folders, answers, jobs, tasks and sessions, whoever pays."""

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from tests.extensions.test_tasks import KnowsTasks, TaskDesk
from tests.support.mcp_session import CANARY, KEY, SLOW, Era, content, listing, patience, until
from tests.support.stdio_client import DISCOVERY
from tests.support.team import INITIALIZE, Team, team_server
from tikhub_mcp.concurrency import Share
from tikhub_mcp.extensions import tasks
from tikhub_mcp.jobs.capacity import Capacity
from tikhub_mcp.sandbox import Sandbox, good_links, link
from tikhub_mcp.serve.links import LinkSigner
from tikhub_mcp.serve.people import MAX_PENDING, PersonalWorkspace

pytestmark = pytest.mark.anyio


@pytest.mark.both_eras
async def test_a_download_batch_and_summary_work_with_progress_in_a_folder_of_ones_own(team: Team, era: Era) -> None:
    team.sandbox.media_bytes_per_second = 150_000  # a file takes a second
    async with team.connect("alice", era=era) as desk:
        desk.heard = []
        one = await desk.one(link("tiktok"))
        photos = await desk.one(link("photos"), include=["music"])
        batch = await desk.batch(good_links(3))
        table = await desk.ask("summarize_raw")
        assert desk.client.protocol_version == {"legacy": "2025-11-25", "auto": "2026-07-28"}[era]
    assert (one["status"], photos["status"], batch["succeeded"], table["rows"]) == (
        "ok",
        "ok",
        3,
        len(team.sandbox.calls),
    )
    assert [done for done, *_ in desk.heard] != []
    for path in (one["file"]["path"], one["raw_json_path"], photos["photos"]["dir"], table["csv_path"]):
        assert Path(path).is_relative_to(team.folder("alice"))
    assert {path.name for path in team.root.iterdir()} == {".serve", "people"}
    assert not team.folder("bob").exists()


@pytest.mark.both_eras
async def test_a_key_goes_to_tikhub_alone_and_without_one_the_servers_pays(
    team: Team, caplog: pytest.LogCaptureFixture, era: Era
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    for person, key in (("alice", CANARY), ("bob", f"Bearer {CANARY}2"), ("alice", ""), ("bob", '""')):
        async with team.connect(person, key, era=era) as desk:
            said.append((await desk.one(link("tiktok"), refresh=True)).text)
            said.append((await desk.one(link("bad_key"), refresh=True)).text)
    sent = [call.authorization for call in team.sandbox.calls]
    assert sent == [f"Bearer {key}" for key in (CANARY, CANARY, f"{CANARY}2", f"{CANARY}2", KEY, KEY, KEY, KEY)]
    assert not any(CANARY in path.read_text("latin-1") for path in team.root.rglob("*") if path.is_file())
    assert CANARY not in "".join(said)
    ours = [
        record for record in caplog.records if not record.name.startswith(("httpx", "httpcore", "sse", "mcp.client"))
    ]
    told = "".join(record.getMessage() for record in ours)
    assert not any(secret in told for secret in (CANARY, KEY, *team.tokens.values()))
    assert not any(token in str(team.sandbox.media_requests) + str(sent) for token in (*team.tokens.values(), "Cookie"))


@pytest.mark.parametrize("key", ["YOUR_API_KEY", "${TIKHUB_API_KEY}", "short", "<key>"])
async def test_a_key_that_is_none_is_refused_though_the_server_has_one(team: Team, key: str) -> None:
    async with team.connect("alice", key) as desk:
        reply = await desk.one(link("tiktok"))
    assert (reply.code, reply["error"]["stop"], reply.is_error) == ("api_key_missing", True, True)
    assert "X-TikHub-Api-Key is set, but" in reply.message
    assert (team.sandbox.calls, team.folder("alice").exists()) == ([], False)


async def test_without_any_key_the_call_is_refused(sandbox: Sandbox, environ: dict[str, str]) -> None:
    async with team_server(sandbox, {**environ, "TIKHUB_API_KEY": ""}) as team:
        async with team.connect("alice") as desk:
            assert {tool.name for tool in (await desk.client.list_tools()).tools} >= {"download_video"}
            for reply in (await desk.one(link("tiktok")), await desk.batch([link("tiktok")], dry_run=True)):
                assert (reply.code, reply["error"]["stop"]) == ("api_key_missing", True)
                assert reply.message.startswith("Stop this task now")
                assert all(
                    part in reply.message for part in ("https://tikhub.io/", "X-TikHub-Api-Key", "TIKHUB_API_KEY")
                )
                assert "X-TikHub-Api-Key" in reply["error"]["tell_human"]
            assert (await desk.ask("summarize_raw")).code == "invalid_input"  # needs none, and there is nothing yet
        assert (sandbox.calls, (team.root / "people").exists()) == ([], False)


ELSEWHERE = [
    "/etc",
    "~",
    "~/x",
    "..",
    "../bob",
    "../bob/raw",
    "videos/../../bob",
    "{root}",
    "{root}/people/bob/raw",
    "{root}/people/alice-2",
    "{root}/.serve/tokens.json",
    "{temp}",
    "{link}",
    "{link}/raw",
    "to-home",
    "to-home/x",
    "{temp}/loop",
    ".lock",
    "file:///etc",
    "/proc/self/environ",
]


@pytest.mark.parametrize("path", ELSEWHERE)
async def test_every_path_lies_in_the_folder_of_whoever_asks(team: Team, tmp_path: Path, path: str) -> None:
    async with team.connect("bob") as bob:
        await bob.one(link("tiktok"))
    team.folder("alice").mkdir()
    (team.folder("alice") / "link").symlink_to(team.folder("bob"))
    (team.folder("alice") / "to-home").symlink_to(tmp_path / "home")
    (tmp_path / "temp" / "loop").symlink_to("loop")
    before = listing(team.root)
    given = path.format(root=team.root, temp=tmp_path / "temp", link="link")
    async with team.connect("alice") as desk:
        replies = [
            await desk.one(link("tiktok"), output_dir=given),
            await desk.batch([], urls_file=given),
            await desk.batch([link("tiktok")], output_dir=given),
            await desk.ask("summarize_raw", input=given),
            await desk.ask("summarize_raw", out_dir=given),
            await desk.ask("summarize_raw", urls_file=given),
        ]
    assert [reply.code for reply in replies] == ["path_not_allowed"] * len(replies)
    assert all(str(tmp_path / "home") not in reply.message and "bob" not in reply.message for reply in replies)
    if path.startswith(("/", "{temp}")):  # whatever is there
        assert {reply.message.partition(" Allowed")[0] for reply in replies} == {
            "That path is outside the folders that tools may use."
        }
    assert [name for name in listing(team.root) if name not in before] == []


async def test_nothing_of_an_answer_or_file_is_shared_though_one_key_pays(team: Team) -> None:
    async with team.connect("alice") as alice, team.connect("bob") as bob:
        first = await alice.one(link("tiktok"))
        second, planned = (
            await bob.one(link("tiktok"), metrics_only=True),
            await bob.batch([link("tiktok")], dry_run=True),
        )
        third = await bob.one(link("tiktok"))
        again = await alice.one(link("tiktok"))
        assert (await bob.ask("summarize_raw"))["rows"] == 1
    assert [reply["cost"]["api_calls"] for reply in (first, second, third, again)] == [1, 1, 0, 0]
    assert (second["cost"]["reused_answer"], planned["on_disk"], planned["calls_needed"]) == (False, 0, 0)
    assert (third["file"]["reused"], again["file"]["reused"]) == (False, True)
    assert len(team.sandbox.calls) == 2


async def test_nobody_joins_or_cancels_the_work_of_another(team: Team) -> None:
    team.sandbox.media_bytes_per_second = SLOW
    async with team.connect("alice") as alice, team.connect("bob") as bob:
        asked = asyncio.create_task(alice.one(link("tiktok")))
        await until(lambda: alice.parts)
        same = asyncio.create_task(bob.one(link("tiktok")))
        await until(lambda: bob.parts)
        same.cancel()  # the client closes the request, which cancels it
        await until(lambda: not bob.parts)
        assert alice.parts
        team.sandbox.media_bytes_per_second = 0
        asked.cancel()
        await until(lambda: not alice.parts)
    assert len(team.sandbox.calls) == 2


async def test_a_task_is_nothing_to_others(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TASK_AFTER_SECONDS", 0.1)
    team.sandbox.media_bytes_per_second = SLOW
    known = KnowsTasks()
    async with (
        team.connect("alice", extensions=(known,)) as alice,
        team.connect("bob", extensions=(known,)) as bob,
    ):
        task = await TaskDesk(alice.client).begin("download_video", url=link("tiktok"))
        assert (await TaskDesk(alice.client).ask("get", task))["status"] == "working"
        refused = []
        for method in ("get", "cancel", "update"):
            for asked in (task, "of-nobody"):
                with pytest.raises(MCPError) as error:
                    await TaskDesk(bob.client).ask(method, asked)
                refused.append((error.value.code, error.value.message))
        assert set(refused) == {(INVALID_PARAMS, refused[0][1])}  # as one that never was
        assert (await TaskDesk(alice.client).ask("get", task))["status"] == "working"
        await TaskDesk(alice.client).ask("cancel", task)
        assert (await TaskDesk(alice.client).ended(task))["status"] == "cancelled"


async def test_a_session_is_nothing_to_others(team: Team) -> None:
    begun = await team.post(INITIALIZE, "alice")
    session = begun.headers["mcp-session-id"]
    listed: dict[str, Any] = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
    same = {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    refused = [
        await team.post(listed, "bob", **same),
        await team.post(listed, "bob", **{**same, "Mcp-Session-Id": "0" * 32}),
    ]
    assert [answer.status_code for answer in refused] == [404, 404]
    assert refused[0].text == refused[1].text
    ended = await team.plain.delete(team.server.url, headers={**team.headers("bob"), **same})
    assert ended.status_code == 404
    assert (await team.post(listed, "alice", **same)).status_code == 200


async def test_a_refused_key_of_one_person_stops_nobody_else(team: Team) -> None:
    team.sandbox.key = KEY
    async with team.connect("alice", "a-key-that-is-wrong") as alice, team.connect("bob") as bob:
        assert (await alice.one(link("tiktok"))).code == "api_key_invalid"
        assert (await bob.one(link("tiktok")))["status"] == "ok"
        assert (await alice.one(link("tiktok"))).code == "api_key_invalid"  # though bob has the answer


async def test_the_protocol_of_a_person_says_nothing_of_others(team: Team) -> None:
    async with team.connect("alice") as alice:
        await alice.one(link("tiktok"))
    async with team.connect("bob") as bob:
        listed = (await bob.client.list_tools()).model_dump_json()
        refusal = await bob.one(link("tiktok"), output_dir="/x")
    assert "alice" not in listed + refusal.text
    assert json.loads(content(Path(team.root / ".serve" / "tokens.json"))).keys() == {"alice", "bob"}


@pytest.mark.slow
async def test_a_batch_of_one_person_holds_up_the_link_of_another_for_one_transfer_at_most(team: Team) -> None:
    team.sandbox.media_bytes_per_second = 60_000  # a transfer takes 2.7 s
    async with team.connect("alice") as alice, team.connect("bob") as bob:
        batch = asyncio.create_task(alice.batch(good_links(60)))
        await until(lambda: len(alice.parts) == 10)
        began = time.monotonic()
        assert (await bob.one(link("douyin")))["status"] == "ok"
        assert time.monotonic() - began < patience(2 * 2.7 + 1)  # one transfer of alice's, and bob's own
        assert not batch.done()
        batch.cancel()
        await asyncio.wait([batch])


async def test_a_client_that_is_gone_ends_its_call_and_no_other(team: Team) -> None:
    team.sandbox.media_bytes_per_second = SLOW
    sent: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "download_video", "arguments": {"url": link("tiktok")}, "_meta": DISCOVERY},
    }
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "download_video"}
    asked = asyncio.create_task(team.post(sent, "alice", **headers))
    await until(lambda: list(team.folder("alice").rglob("*.part")))
    asked.cancel()  # closes the connection
    await until(lambda: not list(team.folder("alice").rglob("*.part")))
    assert len(list((team.folder("alice") / "raw").glob("*.json"))) == 1
    team.sandbox.media_bytes_per_second = 0
    async with team.connect("alice") as alice:
        assert (await alice.one(link("tiktok")))["cost"]["api_calls"] == 0


async def test_people_have_shares_of_one_rate_and_of_the_same_ten_transfers(environ: dict[str, str]) -> None:
    signer, capacity = LinkSigner(b"", "", 1), Capacity(5)
    workspaces = [PersonalWorkspace(name, signer, capacity.share(), environ) for name in ("alice", "bob")]
    one, other = (workspace.jobs(workspace.settings()) for workspace in workspaces)
    for mine, others in (
        (one._worker._transfers, other._worker._transfers),
        (one._tikhub._connections, other._tikhub._connections),
    ):
        assert isinstance(mine, Share)
        assert isinstance(others, Share)
        assert mine._slots is others._slots
    assert one._tikhub._limiter._rate is other._tikhub._limiter._rate
    assert (one._max_pending, MAX_PENDING) == (5, 1000)


async def test_in_the_older_protocol_a_call_goes_on_without_its_connection_until_it_is_cancelled(team: Team) -> None:
    team.sandbox.media_bytes_per_second = SLOW
    session = (await team.post(INITIALIZE, "alice")).headers["mcp-session-id"]
    same = {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    await team.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, "alice", **same)
    params = {"name": "download_video", "arguments": {"url": link("tiktok")}}
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    asked = asyncio.create_task(team.post(call, "alice", **same))
    await until(lambda: list(team.folder("alice").rglob("*.part")))
    asked.cancel()
    await asyncio.wait([asked])
    await asyncio.sleep(0.5)
    assert list(team.folder("alice").rglob("*.part"))
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    assert (await team.post(cancel, "bob", **same)).status_code == 404
    assert list(team.folder("alice").rglob("*.part"))
    assert (await team.post(cancel, "alice", **same)).status_code == 202
    await until(lambda: not list(team.folder("alice").rglob("*.part")), within=3)
