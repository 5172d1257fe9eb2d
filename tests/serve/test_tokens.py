"""Tokens: who has one, by the commands that manage them."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.forked import Forked
from tests.support.mcp_session import content, mode
from tests.support.stdio_client import MODULE
from tikhub_mcp.cli.main import main
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.serve.tokens import Tokens


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIKHUB_OUTPUT_DIR", str(tmp_path / "root"))
    return tmp_path / "root"


def test_a_token_is_printed_once_and_the_file_holds_its_hash_for_its_owner_alone(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "add", "alice"]) == 0
    token = capsys.readouterr().out.strip()
    assert (len(token) > 40, token.split()) == (True, [token])
    tokens = Tokens(root)
    assert (tokens.owner(token), tokens.owner(token[:-1]), tokens.owner("")) == ("alice", None, None)
    assert mode(tokens.path) == 0o600
    assert token not in content(tokens.path).decode()
    assert token.encode() not in b"".join(content(path) for path in root.rglob("*") if path.is_file())
    assert main(["token", "list"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("alice  since 20")
    assert token not in told.out + told.err
    assert main(["token", "remove", "alice"]) == 0
    assert tokens.owner(token) is None
    assert main(["token", "list"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "name", ["", "Alice", "a b", "a.b", "../x", "a/b", "x" * 33, "älice", "alice\n", "a_b", "\u0661"]
)
def test_a_name_that_could_be_no_folder_anywhere_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["token", "add", name]) == 2
    assert "A name has 1 to 32 characters, of a to z, 0 to 9 and the hyphen." in capsys.readouterr().err
    assert not root.exists()


@pytest.mark.parametrize("name", ["a", "a-1", "0", "x" * 32])
def test_a_name_may_have_these_characters(root: Path, name: str) -> None:
    assert main(["token", "add", name]) == 0
    assert list(Tokens(root).entries()) == [name]


def test_nobody_gets_a_second_token_or_loses_one_that_is_not_there(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["token", "add", "alice"])
    before = content(Tokens(root).path)
    assert main(["token", "add", "alice"]) == 2
    assert "token remove alice" in capsys.readouterr().err
    assert main(["token", "remove", "bob"]) == 2
    assert content(Tokens(root).path) == before


def test_several_commands_at_once_lose_no_token(root: Path) -> None:
    names = [f"n{number}" for number in range(12)]
    processes = [Forked([*MODULE, "token", "add", name], stdout=subprocess.PIPE, cwd="/") for name in names]
    given = [process.communicate()[0].decode().strip() for process in processes]
    assert [Tokens(root).owner(token) for token in given] == names


@pytest.mark.parametrize("damage", ["{", "[]", '{"alice": {"sha256": 1}}', "\xff", '{"alice": null}'])
def test_a_damaged_file_lets_nobody_in_and_is_not_overwritten(
    root: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    tokens = Tokens(root)
    token = tokens.add("alice")
    tokens.path.write_bytes(damage.encode("latin-1"))
    assert tokens.owner(token) is None
    for command in (["add", "bob"], ["remove", "alice"], ["list"]):
        assert main(["token", *command]) == 2
        assert "is damaged. Move it away" in capsys.readouterr().err
    assert content(tokens.path) == damage.encode("latin-1")


def test_a_link_or_pipe_in_its_place_is_not_read(root: Path, tmp_path: Path) -> None:

    tokens = Tokens(root)
    token = tokens.add("alice")
    tokens.path.rename(tmp_path / "elsewhere.json")
    tokens.path.symlink_to(tmp_path / "elsewhere.json")
    assert tokens.owner(token) is None
    tokens.path.unlink()
    os.mkfifo(tokens.path)
    assert tokens.owner(token) is None
    with pytest.raises(InvalidInput):
        tokens.entries()


def test_the_comparison_takes_all_hashes_whichever_fits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(root)
    given = [tokens.add(name) for name in ("a", "b", "c")]
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr("tikhub_mcp.serve.tokens.hmac.compare_digest", compare)
    for token, owner in (*zip(given, "abc", strict=True), ("none", None)):
        compared.clear()
        assert tokens.owner(token) == owner
        assert len(compared) == 3
    assert json.loads(content(tokens.path)).keys() == {"a", "b", "c"}
