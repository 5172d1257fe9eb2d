"""Without a key: stop, notify, touch nothing. With one: it is in the Authorization header and nowhere else."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import mcp_session
from tests.support.mcp_session import CANARY, Desk, content, listing
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import good_links, link
from tikhub_mcp.settings import api_key
from tikhub_mcp.settings.program import shell_command

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MISSING = {
    "absent": None,
    "empty": "",
    "blank": "  \t ",
    "quoted nothing": '""',
    "placeholder": "YOUR_API_KEY",
    "the upstream's placeholder": "your_private_api_key",
    "angle brackets": "<your key here>",
    "x": "xxxxxxxx",
    "change me": "changeme",
    "unexpanded": "${TIKHUB_API_KEY}",
    "bearer of nothing": "Bearer YOUR_API_KEY",
    "blank inside": f"{CANARY} {CANARY}",
    "line inside": f"{CANARY}\r\nX-Evil: 1",
    "control character": f"{CANARY}\x00",
    "not ASCII": f"{CANARY}é",
    "far too long": CANARY * 600,
}
CALLS: list[tuple[str, dict[str, Json]]] = [
    ("download_video", {"url": link("tiktok")}),
    ("download_video", {"url": "no link", "output_dir": "/etc"}),
    ("batch_download", {"urls": [link("tiktok"), link("douyin")]}),
    ("batch_download", {"urls": [link("tiktok")], "dry_run": True}),
    ("batch_download", {"urls_file": "links.txt"}),
]
DEMO = shell_command("demo", anywhere=True)
PARTS = [
    "Stop this task now",
    "Tell the human user",
    "apply for their own paid personal API key",
    "https://tikhub.io/",
    "TIKHUB_API_KEY",
    "SKILL.md",
    "do not continue with download, data fetching, retries, workarounds or made-up output",
]


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the process tried to reach: every connection and every name, none of which succeeds."""
    tried: list[str] = []

    def refuse(what: str) -> object:
        def refused(*arguments: object, **_: object) -> None:
            tried.append(f"{what} {arguments!r}")
            raise AssertionError("nothing may be reached")

        return refused

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse(name))
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
        monkeypatch.setattr(socket, name, refuse(name))
    for name in ("getaddrinfo", "create_connection", "create_datagram_endpoint"):
        monkeypatch.setattr(asyncio.BaseEventLoop, name, refuse(name))
    yield tried
    assert tried == []


@pytest.mark.parametrize("key", MISSING.values(), ids=MISSING)
async def test_without_a_key_the_agent_is_told_to_stop_and_nothing_is_touched(
    desk: Desk, key: str | None, reached: list[str], tmp_path: Path
) -> None:
    skill = tmp_path / "package" / "SKILL.md"
    desk.environ.pop("TIKHUB_API_KEY")
    if key is not None:
        desk.environ["TIKHUB_API_KEY"] = key
    before = listing(tmp_path)
    for tool, arguments in CALLS:
        reply = await desk.ask(tool, **arguments)
        assert reply.is_error
        error = reply["error"]
        assert (error["code"], error["stop"], error["retryable"]) == ("api_key_missing", True, False)
        places = [reply.message.find(part) for part in PARTS]
        assert places == sorted(places)
        assert places[0] == 0
        assert str(skill) in reply.message
        for part in (*PARTS[3:6], "apply for your own paid personal API key", str(skill), DEMO):
            assert part in error["tell_human"]
        assert CANARY not in reply.text
        assert reply["status"] == ("failed" if tool == "download_video" else "stopped")
    assert reached == []
    assert not desk.root.exists()
    assert listing(tmp_path) == before
    assert not desk.asked


@pytest.mark.both_eras
async def test_without_a_key_the_tools_are_listed(desk: Desk) -> None:
    del desk.environ["TIKHUB_API_KEY"]
    assert len((await desk.client.list_tools()).tools) == 3


async def test_in_a_chinese_locale_the_words_for_the_human_are_chinese_and_those_for_the_agent_are_not(
    desk: Desk, tmp_path: Path
) -> None:
    desk.environ |= {"TIKHUB_API_KEY": "", "LANG": "zh_CN.UTF-8"}
    reply = await desk.one(link("tiktok"))
    assert reply.message.startswith(PARTS[0])
    told = str(reply["error"]["tell_human"])
    assert told.startswith("您需要在 https://tikhub.io/ 申请自己的付费个人 API 密钥")
    assert str(tmp_path / "package" / "SKILL.md") in told


async def test_the_skill_that_is_named_is_where_the_human_is_sent(desk: Desk, tmp_path: Path) -> None:
    desk.environ |= {"TIKHUB_API_KEY": "", "TIKHUB_SKILL_FILE": str(tmp_path / "mine" / "SKILL.md")}
    assert str(tmp_path / "mine" / "SKILL.md") in (await desk.one(link("tiktok"))).message


@pytest.mark.parametrize("written", ["{}", "`{}`", "TIKHUB_API_KEY={}", '"{}"', "Bearer {}"])
async def test_a_key_filled_into_the_skill_is_found_without_a_restart(desk: Desk, tmp_path: Path, written: str) -> None:
    skill = tmp_path / "SKILL.md"
    desk.environ |= {"TIKHUB_API_KEY": "YOUR_API_KEY", "TIKHUB_SKILL_FILE": str(skill)}
    skill.write_text("# tikhub-mcp\n\n## API_KEY\n\n## More\n\nnot-the-key\n")
    assert (await desk.one(link("tiktok"))).code == "api_key_missing"
    skill.write_text(f"# tikhub-mcp\n\n## API_KEY\n\n{written.format(CANARY)}\n\n## More\n")
    reply = await desk.one(link("tiktok"))
    assert reply["status"] == "ok"
    assert [call.authorization for call in desk.sandbox.calls] == [f"Bearer {CANARY}"]
    assert CANARY not in reply.text


async def test_a_key_in_the_environment_comes_before_the_skill_and_after_it_the_packaged_one(
    desk: Desk, tmp_path: Path
) -> None:
    def fill(path: Path, key: str) -> None:
        path.write_text(f"## API_KEY\n{key}\n")

    assert tmp_path / "package" == api_key._PACKAGE
    desk.environ |= {"TIKHUB_SKILL_FILE": str(tmp_path / "SKILL.md"), "TIKHUB_API_KEY": "key-of-the-environment"}
    fill(tmp_path / "SKILL.md", "key-of-the-named-file")
    fill(tmp_path / "package" / "SKILL.md", "key-of-the-package")
    for number, url in enumerate(good_links(3)):
        if number == 1:
            desk.environ["TIKHUB_API_KEY"] = "${TIKHUB_API_KEY}"
        if number == 2:
            fill(tmp_path / "SKILL.md", "<your key>")
        await desk.one(url, metrics_only=True)
    sent = [call.authorization.removeprefix("Bearer key-of-the-") for call in desk.sandbox.calls]
    assert sent == ["environment", "named-file", "package"]


ECHOES = ["bad_key", "no_balance", "no_scope", "firewall", "rejected", "half", "web_page", "failed_once", "tiktok"]


@pytest.mark.both_eras
async def test_the_key_is_nowhere_but_in_the_header(
    desk: Desk, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    desk.environ["TIKHUB_API_KEY"] = f" 'Bearer {CANARY}' "
    replies = [await desk.one(link(name)) for name in ECHOES]
    replies += [await desk.batch([link(name)]) for name in ECHOES]
    replies.append(await desk.ask("summarize_raw"))
    replies.append(await desk.one(link("tiktok"), save_raw=CANARY))
    assert {call.authorization for call in desk.sandbox.calls} == {f"Bearer {CANARY}"}
    assert {reply.code for reply in replies} >= {"api_key_invalid", "insufficient_balance", "permission_denied", None}
    for reply in replies:
        assert CANARY not in reply.text
    files = [name for name in listing(tmp_path) if name.endswith((".json", ".mp4", ".csv"))]
    assert len(files) >= 6
    assert CANARY not in "".join(listing(tmp_path))
    assert not [name for name in files if CANARY.encode() in content(tmp_path / name)]
    assert CANARY not in caplog.text
    assert not [record for record in caplog.records if CANARY in f"{record.__dict__!r}"]
    assert CANARY not in "".join(capfd.readouterr())
    for request in desk.sandbox.media_requests:
        assert (request.authorization, request.cookie) == ("", "")


async def test_an_answer_that_holds_the_key_is_redacted_where_it_is_kept(
    desk: Desk, reword: mcp_session.Reword, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    desk.environ["TIKHUB_API_KEY"] = CANARY
    reword(desc=f"my key is {CANARY}", author={"nickname": CANARY}, **{CANARY: {"headers": {"a": CANARY}}})
    reply = await desk.one(link("tiktok"))
    assert reply["status"] == "ok"
    assert reply["title"] == "my key is <redacted>"
    assert CANARY not in reply.text + caplog.text + "".join(listing(desk.root))
    assert CANARY.encode() not in content(reply["raw_json_path"])
    assert b"redacted" in content(reply["raw_json_path"])
