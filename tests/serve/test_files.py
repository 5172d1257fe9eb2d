"""Links to files: what they lead to, and that no other link leads anywhere."""

import asyncio
import csv
import io
import os
import re
import time
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from tests.support.mcp_session import Desk, Reword, content, mode
from tests.support.team import Team, team_server
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, good_links, link
from tikhub_mcp.serve import links
from tikhub_mcp.serve.links import LinkSigner, signing_key
from tikhub_mcp.serve.tokens import Tokens
from tikhub_mcp.settings.serving import ServeSettings

pytestmark = pytest.mark.anyio

NOBODY = httpx.Headers()  # whoever opens a link sends no token


def pairs(reply: Json) -> list[tuple[str, Any]]:
    """Each path in a reply, with the link beside it."""
    named = {"path": "url", "dir": "url", "raw_json_path": "raw_json_url", "results_path": "results_url"}
    found: list[tuple[str, Any]] = []
    if isinstance(reply, list):
        return [pair for item in reply for pair in pairs(item)]
    if isinstance(reply, dict):
        for name, value in reply.items():
            found += pairs(value)
            if value and (name in named or re.fullmatch(r"(csv|json|history_csv|xlsx|html)_path", name)):
                beside = "file_url" if "video_id" in reply and name == "path" else named.get(name)
                found.append((value, reply.get(beside or f"{name.removesuffix('_path')}_url")))
    return found


async def one_video(team: Team, person: str = "alice") -> tuple[Path, str]:
    async with team.connect(person) as desk:
        file = (await desk.one(link("tiktok")))["file"]
        return Path(file["path"]), file["url"]


async def test_beside_each_path_is_a_link_to_the_same_file(team: Team, reword: Reword) -> None:
    reword(author={"nickname": "作者 & <b>Ünïcödé"})
    async with team.connect("alice") as desk:
        one = await desk.one(link("tiktok"), include=["cover", "captions", "music"])
        photos = await desk.one(link("photos"), include=["music"])
        batch = await desk.batch([*good_links(21), link("photos")])
        table = await desk.ask("summarize_raw", formats=["csv", "json", "html", "xlsx"])
        assert all(len(reply.text) < 4000 for reply in (one, photos))
    found = [pair for reply in (one, photos, batch, table) for pair in pairs(reply.said)]
    assert len(found) > 2 + 4 + 2 + 22 * 2 + 4
    for path, url in found:
        is_file = await asyncio.to_thread(Path(path).is_file)
        answer = await team.plain.get(url, headers=NOBODY)
        assert answer.status_code == 200, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        if is_file:
            assert answer.content == content(path)
            assert quote(Path(path).name) in answer.headers["content-disposition"]


@pytest.mark.parametrize("number", [30, 101])
async def test_in_a_batch_the_links_stand_in_the_table_and_up_to_100_in_the_results(team: Team, number: int) -> None:
    async with team.connect("alice") as desk:
        batch = await desk.batch([*good_links(number - 1), link("private")], metrics_only=number > 100)
    rows = list(csv.DictReader(io.StringIO((await team.plain.get(batch["results_url"])).text.removeprefix("\ufeff"))))
    assert len(rows) == number
    if number > 100:
        assert [item["status"] for item in batch["results"]] == ["failed"]
    else:
        assert [row["file_url"] for row in rows] == [item.get("file_url", "") for item in batch["results"]]
        assert (await team.plain.get(rows[0]["file_url"])).content == content(rows[0]["file"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", "video/mp4"),
        ("a.JPG", "image/jpeg"),
        ("a.heic", "image/heic"),
        ("a.vtt", "text/vtt; charset=utf-8"),
        ("a.m4a", "audio/mp4"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.html", "text/html; charset=utf-8"),
        ("a.exe", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
async def test_a_file_is_an_attachment_of_its_type_and_no_page_of_this_server(team: Team, name: str, kind: str) -> None:
    path = team.folder("alice") / "videos" / name
    path.parent.mkdir(parents=True)
    path.write_text("<script>alert(1)</script>")
    answer = await team.plain.get(signed(team, f"videos/{name}"))
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"


async def test_the_report_is_shown_in_the_browser_in_a_sandbox(team: Team) -> None:
    async with team.connect("alice") as desk:
        await desk.one(link("tiktok"), metrics_only=True)
        table = await desk.ask("summarize_raw", formats=["html"])
    answer = await team.plain.get(table["html_url"])
    assert answer.headers["content-security-policy"] == "sandbox allow-scripts"
    assert answer.headers["content-disposition"].startswith("inline; ")
    assert "Content-Security-Policy" in answer.text  # its own, beside


def signed(team: Team, path: str, person: str = "alice", seconds: float = 60) -> str:
    """A link as the server itself would make it, to anything at all."""
    secret = content(team.root / ".serve" / links.LINK_KEY_NAME)
    return LinkSigner(secret, team.base, seconds).link(person, PurePosixPath(path))


async def test_a_part_of_a_file_can_be_had(team: Team) -> None:
    path, url = await one_video(team)
    whole = content(path)
    for header, part in (
        ("bytes=5-9", whole[5:10]),
        ("bytes=-7", whole[-7:]),
        (f"bytes={len(whole) - 3}-", whole[-3:]),
    ):
        answer = await team.plain.get(url, headers={"Range": header})
        assert (answer.status_code, answer.content) == (206, part)
        assert answer.headers["content-range"].endswith(f"/{len(whole)}")
    assert (await team.plain.get(url, headers={"Range": f"bytes={len(whole)}-"})).status_code == 416
    head = await team.plain.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(whole)), b"")


async def test_the_folder_of_a_photo_post_is_a_page_of_links_that_end_with_its_own(team: Team, reword: Reword) -> None:
    reword(author={"nickname": "<img src=x onerror=alert(1)>"})
    async with team.connect("alice") as desk:
        photos = (await desk.one(link("photos")))["photos"]
    (Path(photos["dir"]) / "<i>.jpg").write_bytes(b"x")
    (Path(photos["dir"]) / ".hidden").write_bytes(b"x")
    page = await team.plain.get(photos["url"])
    assert page.headers["content-security-policy"] == "sandbox allow-downloads; default-src 'none'"
    assert "<i>" not in page.text
    assert "<img" not in page.text
    found = [url.replace("&amp;", "&") for url in re.findall(r'href="([^"]+)"', page.text)]
    assert len(found) == photos["count"] + 2  # the receipt, and the one just made
    assert {expiry(url) for url in found} == {expiry(photos["url"])}
    assert [(await team.plain.get(url)).status_code for url in found] == [200] * len(found)


def expiry(url: str) -> str:
    return parse_qs(urlsplit(url).query)["expires"][0]


async def test_a_link_that_was_changed_leads_nowhere(team: Team) -> None:
    _, alices = await one_video(team)
    _, bobs = await one_video(team, "bob")
    address, query = alices.split("?")
    given = parse_qs(query)
    expires, signature = given["expires"][0], given["signature"][0]
    other = chr(ord(signature[0]) ^ 1)
    changed = [
        address,
        f"{address}?",
        f"{address}?expires={expires}",
        f"{address}?signature={signature}",
        f"{address}?expires={int(expires) + 1}&signature={signature}",
        f"{address}?expires={expires}0&signature={signature}",
        f"{address}?expires=%20{expires}&signature={signature}",
        f"{address}?expires=0&expires={expires}1&signature={signature}",
        f"{address}?expires={expires}&signature={other}{signature[1:]}",
        f"{address}?expires={expires}&signature={signature}=",
        f"{address}?expires={expires}&signature={signature[:-1]}",
        f"{address}?expires={expires}&signature=%ff%00",
        f"{address}?expires={expires}&signature=",
        alices.replace("/alice/", "/bob/"),
        alices.replace("/alice/videos/", "/bob/../alice/videos/"),
        alices.replace("/videos/", "/videos/../videos/"),
        alices.replace("/videos/", "/videos/%2e%2e/videos/"),
        alices.replace("/videos/", "/videos//"),
        alices.replace(".mp4", ".mp4%00"),
        alices.replace(".mp4", ".mp4/"),
        alices.replace("/alice/", "/Alice/"),
        f"{bobs.split('?')[0]}?{query}",
        f"{team.base}/files/alice/videos?{query}",
        f"{team.base}/files/alice/raw/x.json?{query}",
    ]
    for url in changed:
        answer = await raw_get(team, url.removeprefix(team.base))
        assert b" 404 " in answer.split(b"\r\n")[0], url
        assert answer.endswith(b"Not found")
    assert (await team.plain.get(alices, headers=team.headers("bob"))).status_code == 200  # whoever has it, has it
    assert (await team.plain.post(alices)).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "../bob/secret.json",
        "../../.serve/tokens.json",
        "/etc/passwd",
        "link",
        "link/secret.json",
        "to-secret",
        "loop",
        "pipe",
        "missing.mp4",
        "x" * 300,
        "nul\0",
    ],
)
async def test_not_even_a_true_signature_leads_out_of_the_folder_or_to_what_is_no_file(team: Team, path: str) -> None:

    alice, bob = team.folder("alice"), team.folder("bob")
    for folder in (alice, bob):
        folder.mkdir(parents=True)
    (bob / "secret.json").write_text("{}")
    (alice / "link").symlink_to(bob)
    (alice / "to-secret").symlink_to(bob / "secret.json")
    (alice / "loop").symlink_to("loop")
    os.mkfifo(alice / "pipe")
    (alice / "real.json").write_text("{}")
    assert (await team.plain.get(signed(team, "real.json"))).status_code == 200
    address, query = signed(team, path).split("?")
    _, host, rest = address.partition(team.base)
    answer = await raw_get(team, f"{rest}?{query}")
    assert b" 404 " in answer.split(b"\r\n")[0], host
    assert answer.endswith(b"Not found")


async def raw_get(team: Team, target: str) -> bytes:
    """A request with a target that clients would tidy up."""

    host, _, port = team.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_link_ends_with_its_time_and_with_the_token_of_its_person(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = await one_video(team)
    assert abs(int(expiry(url)) - time.time() - 24 * 3600) < 60
    now = time.time()
    monkeypatch.setattr("tikhub_mcp.serve.links.time.time", lambda: now + 24 * 3600 - 30)
    assert (await team.plain.get(url)).status_code == 200
    monkeypatch.setattr("tikhub_mcp.serve.links.time.time", lambda: now + 24 * 3600 + 30)
    assert (await team.plain.get(url)).status_code == 404
    monkeypatch.undo()

    await asyncio.to_thread(Tokens(team.root).remove, "alice")
    assert (await team.plain.get(url)).status_code == 404


async def test_links_begin_with_the_public_address_and_outlive_the_process(
    sandbox: Sandbox, environ: dict[str, str]
) -> None:
    settings = ServeSettings(port=0, public_url="https://team.example/tikhub", link_seconds=100)
    async with team_server(sandbox, environ, settings) as team:
        _, url = await one_video(team)
        assert url.startswith("https://team.example/tikhub/files/alice/videos/")
        assert abs(int(expiry(url)) - time.time() - 100) < 60
        local = url.replace("https://team.example/tikhub", team.base)
        assert (await team.plain.get(local, headers={"Host": "team.example"})).status_code == 200
        Tokens(team.root).path.unlink()
    async with team_server(sandbox, environ) as team:
        assert (await team.plain.get(url.replace("https://team.example/tikhub", team.base))).status_code == 200


def test_the_key_of_the_links_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    key = signing_key(tmp_path)
    path = tmp_path / ".serve" / links.LINK_KEY_NAME
    assert (len(key), signing_key(tmp_path), mode(path)) == (32, key, 0o600)
    path.write_bytes(b"short")
    with pytest.raises(InvalidInput, match=r"cannot be used\. Remove it"):
        signing_key(tmp_path)


async def test_on_stdio_replies_have_no_links(desk: Desk) -> None:
    one, batch = await desk.one(link("tiktok")), await desk.batch(good_links(25))
    table = await desk.ask("summarize_raw")
    assert not any(url for reply in (one, batch, table) for _, url in pairs(reply.said))
    assert "file_url" not in content(batch["results_path"]).decode()
