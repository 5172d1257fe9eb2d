"""install/entries.py: the server's entry, and what of the file is ours."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.install.clients import CLIENTS
from tikhub_mcp.install.entries import install, uninstall
from tikhub_mcp.install.files import Change
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.settings.program import shell_command

KEY = "a-key-that-nobody-may-see"
COMMAND = ["/opt/tikhub/bin/tikhub-mcp"]
MODULE = ["/p", "-m", "tikhub_mcp"]
BY_MODULE = {"command": "/p", "args": ["-m", "tikhub_mcp"]}
PROMPT = {"type": "promptString", "id": "tikhub-key", "description": "TikHub API key", "password": True}
PROMPTED = {"TIKHUB_API_KEY": "${input:tikhub-key}"}

pytestmark = pytest.mark.usefixtures("home")


def file(folder: Path, value: object) -> Path:
    path = folder / "settings.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def after(change: Change) -> Any:  # noqa: ANN401 - any JSON
    assert change.after is not None
    return json.loads(change.after)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-desktop", {"mcpServers": {"tikhub": BY_MODULE}}),
        ("cursor", {"mcpServers": {"tikhub": BY_MODULE}}),
        ("claude-code", {"mcpServers": {"tikhub": {"type": "stdio", **BY_MODULE}}}),
        ("vscode", {"servers": {"tikhub": {"type": "stdio", **BY_MODULE, "env": PROMPTED}}, "inputs": [PROMPT]}),
    ],
)
def test_each_client_gets_the_entry_that_it_understands(tmp_path: Path, name: str, expected: Json) -> None:
    assert after(install(name, tmp_path / "new.json", MODULE)) == expected
    gone = uninstall(name, file(tmp_path, expected))
    assert {tuple(value) for value in after(gone).values()} == {()}


def test_what_the_user_put_into_the_entry_is_kept(tmp_path: Path) -> None:
    env = {"TIKHUB_OUTPUT_DIR": "/v", "TIKHUB_API_KEY": "mine"}
    entry = {"disabled": True, "command": "/old", "args": ["-m", "x"], "env": env, "timeout": 60.5}
    path = file(tmp_path, {"mcpServers": {"tikhub": entry, "b": {}}, "c": 1})
    without_args = {name: value for name, value in entry.items() if name != "args"} | {"command": COMMAND[0]}
    assert after(install("cursor", path, COMMAND)) == {"mcpServers": {"tikhub": without_args, "b": {}}, "c": 1}
    changed = after(install("cursor", path, MODULE, SecretStr(KEY)))
    assert changed["mcpServers"]["tikhub"] == entry | BY_MODULE | {"env": env | {"TIKHUB_API_KEY": KEY}}


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("key", [None, SecretStr(KEY)])
def test_the_same_once_more_is_no_change(tmp_path: Path, name: str, key: SecretStr | None) -> None:
    path = file(tmp_path, {"a": "é", "mcpServers": {"b": {}}})
    path.write_bytes(install(name, path, COMMAND, key).after or b"")
    for again in (install(name, path, COMMAND, key), install(name, path, COMMAND)):  # a key that is there stays
        assert not again.needed
        assert "already" in again.notes[0]
        assert not any(note.startswith("Next: ") for note in again.notes)
    assert after(uninstall(name, path))["mcpServers"] == {"b": {}}


@pytest.mark.parametrize(
    ("key", "inputs", "entries", "expected"),
    [
        (None, [{"id": "a"}, "odd"], {}, [{"id": "a"}, "odd", PROMPT]),
        (None, [{"id": "tikhub-key"}], {}, [{"id": "tikhub-key"}]),
        (KEY, [{"id": "a"}, PROMPT], {}, [{"id": "a"}]),
        (KEY, [PROMPT], {"other": {"env": PROMPTED}}, [PROMPT]),
        (KEY, 5, {}, 5),
        ("uninstall", [PROMPT, {"id": "a"}], {}, [{"id": "a"}]),
        ("uninstall", [PROMPT], {"other": {"env": PROMPTED}}, [PROMPT]),
        ("uninstall", {}, {}, {}),
    ],
)
def test_the_prompt_for_the_key_is_there_exactly_while_an_entry_uses_it(
    tmp_path: Path, key: str | None, inputs: Json, entries: dict[str, Json], expected: Json
) -> None:
    ours = {"tikhub": {"type": "stdio", "command": COMMAND[0], "env": PROMPTED}} if key else {}
    path = file(tmp_path, {"inputs": inputs, "servers": entries | ours})
    if key == "uninstall":
        assert after(uninstall("vscode", path)) == {"inputs": expected, "servers": entries}
    else:
        assert after(install("vscode", path, COMMAND, SecretStr(key) if key else None))["inputs"] == expected


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("cursor", '{\n  // mine\n  "mcpServers": {}\n}', "line 2, column 3: a comment"),
        ("cursor", '{"mcpServers": []}', '"mcpServers" in it is not an object'),
        ("cursor", '{"mcpServers": null}', '"mcpServers" in it is not an object'),
        ("cursor", '{"mcpServers": {"tikhub": {"url": "https://x.example"}}}', "is for something else"),
        ("cursor", '{"mcpServers": {"tikhub": {"type": "http"}}}', "is for something else"),
        ("cursor", '{"mcpServers": {"tikhub": null}}', "is for something else"),
        ("cursor", '{"mcpServers": {"tikhub": {"env": ["x"]}}}', '"env" of its entry "tikhub" is not an object'),
        ("vscode", '{"servers": {}, "inputs": {}}', '"inputs" in it is not a list'),
    ],
)
def test_a_file_or_entry_of_another_form_is_left_alone_and_the_entry_is_shown(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    path = file(tmp_path, text)
    with pytest.raises(InvalidInput) as refused:
        install(name, path, MODULE, None if name == "vscode" else SecretStr(KEY))
    said, _, by_hand = refused.value.message.partition("\n")
    assert said.startswith(f"{path} is left as it is: ")
    assert reason in said
    if "something else" in reason:
        assert f"`{shell_command('uninstall', name, '--file', str(path))}` takes that out" in said
    assert json.loads(by_hand)[CLIENTS[name].servers]["tikhub"].items() >= BY_MODULE.items()
    assert KEY not in by_hand
    if '"tikhub"' in text:
        assert after(uninstall(name, path)) == {"mcpServers": {}}
    elif name == "cursor":
        with pytest.raises(InvalidInput, match=r'is left as it is: .* Take "tikhub" out by hand'):
            uninstall(name, path)


@pytest.mark.parametrize("env", [[1], "text", 5, None, True])
def test_an_entry_with_an_odd_env_breaks_nothing(tmp_path: Path, env: Json) -> None:
    path = file(tmp_path, {"mcpServers": {"tikhub": {"command": "x", "env": env}}})
    assert after(install("cursor", path, COMMAND))["mcpServers"]["tikhub"] == {"command": COMMAND[0], "env": env}


TWO_OTHERS: dict[str, Json] = {
    "theme": KEY,
    "mcpServers": {"a": {"args": [KEY]}, "b": {"env": {"SOME_TOKEN": KEY}}},
    "inputs": [],
}


@pytest.mark.parametrize(
    ("name", "before", "key", "says"),
    [
        ("cursor", {}, None, f'adds "tikhub", which starts {COMMAND[0]}; 0 other servers and 0 settings stay'),
        ("cursor", TWO_OTHERS, KEY, f'adds "tikhub", which starts {COMMAND[0]}; 2 other servers and 2 settings stay'),
        ("vscode", {"a": 1, "inputs": []}, None, "0 other servers and 1 setting stay as they are."),
        ("cursor", {"mcpServers": {"tikhub": {"command": "x"}, "a": {}}}, KEY, 'changes "tikhub" (command, env); 1 '),
        ("vscode", {"servers": {"tikhub": {"command": COMMAND[0], "env": PROMPTED}}}, None, "(inputs, type); 0 other"),
    ],
)
def test_the_question_says_what_changes_and_what_stays_and_no_secret(
    tmp_path: Path, name: str, before: Json, key: str | None, says: str
) -> None:
    path = file(tmp_path, before)
    change = install(name, path, COMMAND, SecretStr(key) if key else None)
    assert change.question.startswith(f"{path}: ")
    assert says in change.question
    assert ("The API key goes into the entry." in change.question) == bool(key)
    assert KEY not in change.question + repr(change) + "".join(change.notes)


def test_the_question_about_a_removal_counts_what_stays(tmp_path: Path) -> None:
    path = file(tmp_path, {"mcpServers": {"a": {}, "tikhub": {"env": {"TIKHUB_API_KEY": KEY}}}, "b": 1, "c": 2})
    assert uninstall("cursor", path).question == (
        f'{path}: removes "tikhub"; 1 other server and 2 settings stay as they are.'
    )


@pytest.mark.parametrize(
    ("name", "env", "says", "lacks_key"),
    [
        ("cursor", {}, '"env": {"TIKHUB_API_KEY": "…"}', True),
        ("cursor", {"TIKHUB_API_KEY": "YOUR_API_KEY"}, "## API_KEY in ", True),
        ("cursor", {"TIKHUB_API_KEY": KEY, "n": 1}, "keep that file to yourself", False),
        ("cursor", {"TIKHUB_API_KEY": "${env:MY_KEY}"}, "Cursor fills in the key, ${env:MY_KEY}", False),
        ("vscode", PROMPTED, "VS Code fills in the key", False),
        ("claude-desktop", {"TIKHUB_API_KEY": "${MY_KEY}"}, "## API_KEY in ", True),
        ("cursor", {"TIKHUB_SKILL_FILE": "filled"}, "finds its key in SKILL.md", False),
    ],
)
def test_the_note_says_where_the_key_is_or_belongs(
    tmp_path: Path, name: str, env: dict[str, Any], says: str, lacks_key: bool
) -> None:
    (tmp_path / "filled").write_text(f"## API_KEY\n{KEY}\n", encoding="utf-8")
    env = {key: str(tmp_path / "filled") if value == "filled" else value for key, value in env.items()}
    change = install(name, file(tmp_path, {CLIENTS[name].servers: {"tikhub": {"env": env}}}), COMMAND)
    assert says in change.notes[0]
    assert change.lacks_key == lacks_key
    assert KEY not in change.notes[0]
    assert change.notes[1].startswith("Next: ")
    assert CLIENTS[name].title in change.notes[1]


def test_a_chinese_reader_reads_chinese_and_the_entry_hands_the_locale_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    change = install("cursor", file(tmp_path, {"mcpServers": {"a": {}}, "b": 1}), COMMAND, SecretStr(KEY))
    assert after(change)["mcpServers"]["tikhub"]["env"] == {"TIKHUB_API_KEY": KEY, "LANG": "zh_CN.UTF-8"}
    assert "其他 1 个服务器和 1 项设置保持不变。API 密钥会写入条目。" in change.question
    assert change.notes[-1].startswith("下一步：")


def test_a_path_that_is_not_utf_8_is_written_as_an_escape(tmp_path: Path) -> None:
    change = install("cursor", tmp_path / "new.json", ["/odd\udce9/tikhub-mcp"])
    assert after(change)["mcpServers"]["tikhub"]["command"] == "/odd\udce9/tikhub-mcp"
