"""What the environment and SKILL.md come to, and where tools may read and write. Every key here is made up."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tikhub_mcp.errors import InvalidInput, KeyMissing, PathNotAllowed
from tikhub_mcp.messages import said, translate
from tikhub_mcp.settings import api_key
from tikhub_mcp.settings.api_key import MAX_KEY_LENGTH, find_key, key_places
from tikhub_mcp.settings.environment import (
    DEFAULT_BASE_URL,
    NON_SECRET_VARIABLES,
    Settings,
    load_settings,
    log_level,
    variables,
)
from tikhub_mcp.settings.paths import allowed_path

KEY = "Made+Up/Key0123456789=="
PLACEHOLDERS = """
YOUR_API_KEY your_private_api_key your-api-key-here YOUR_TIKHUB_API_KEY my_key <your-key> <> [key] [your-key-here]
INSERT_YOUR_KEY_HERE paste-your-api-key-here replace_with_your_real_key REPLACE_ME yourapikeyhere YourTikHubAPIKey
xxx XXXXXXXX xxxx-xxxx-xxxx sk-xxxx sk-... abcd...wxyz *** ... ---- ____ changeme CHANGE_ME todo tbd none null undefined
placeholder TIKHUB_API_KEY tikhub_token private_api_key api-key ${TIKHUB_API_KEY} x${KEY:-}
${env:TIKHUB_API_KEY} $TIKHUB_API_KEY $env:TIKHUB_API_KEY %KEY% {TIKHUB_API_KEY} {{key}} Bearer${KEY}
"""
EMPTY = ["", " ", "\n", '""', "``", "'  '", "Bearer", "Bearer ", "TIKHUB_API_KEY=", '"TIKHUB_API_KEY="']
BROKEN = ["made up", "made\nup", "made\tup", "made\0up", "m\x7fp", "m\u00a0p", "clé", "你的密钥", "k\r\nX-Evil: 1"]
REASONS = {
    **dict.fromkeys(EMPTY, "is empty"),
    **dict.fromkeys(BROKEN, "contains white space, control or non-ASCII characters"),
    **dict.fromkeys(PLACEHOLDERS.split(), "holds a placeholder"),
    **dict.fromkeys(["k", "any-key", "%20", "nonesuch", "elevenchars"], "is too short for a key"),
    **dict.fromkeys(["k" * (MAX_KEY_LENGTH + 1), "k" * 10_240], "is far too long for a key"),
}
WRAPPED = [
    *["  {}\n", '"{}"', "'{}'", "`{}`", "“{}”", "\ufeff{}\r\n", "Bearer {}", "bearer\t {}", '"Bearer {}"', "\u3000{}"],
    *["TIKHUB_API_KEY={}", "TIKHUB_API_KEY='Bearer {} '", '"\u00a0{} "'],
]
RESEMBLING = """
sandbox-9f8a7 demo-key-of-the-sandbox mykey9f8a7b6 yourkey12345 keystone-9f8 tokenised-9f xxxy-9f8a7b6 abxxxyz-9f8a
sk-xxxa-9f8a nonesuch-9f8 a.b.c.d.e.f.g a-b_c-d_e-f_ {open-9f8a7b $9-8f-7a-6b- api_key_9f8a tikhub_key_9f8a
%20-9f8a7b6c 0123456789abcdef Bearerabcdef
"""
GOOD_BASES = """
https://api.tikhub.dev https://proxy.example:8443/tikhub HTTPS://API.TIKHUB.IO https://10.0.0.1 http://127.0.0.1:8000
http://127.9.9.9 http://localhost:1 http://LOCALHOST http://[::1]:8000
"""
BAD_BASES = """
api.tikhub.io https:// https:///x ftp://api.tikhub.io file:///etc/passwd //api.tikhub.io https://u:p@api.tikhub.io
https://:p@api.tikhub.io https://@api.tikhub.io https://a.example?x=1 https://a.example? https://a.example#
https://a.example:99999 https://[::1 https://a.example\\@b.example http://api.tikhub.io http://10.0.0.1 http://127.1
http://127.0.0.1.evil.example http://localhost.evil.example http://0.0.0.0
"""
OUTSIDE = r"""
/etc / .. a/../../b ../../../../../../etc ~root ~root/x ~/.. ~/../outside //etc/x C:\x c:x \\srv\x a\b file:///x file:x
https://x.example/y -rf -- $HOME/x ${HOME}/x %2e%2e %TEMP%\x BASE BASE/outside BASE/root_evil/x BASE/root/../outside
.git a/.ssh/b ~/.ssh ~/.ssh/authorized_keys BASE/temporary/.x BASE/allowed/a/.b/c
~/out ~/out/x ~/third ~/fourth/x ~/near/../outside ~/self ~/self/x ~/ping
"""
UNUSABLE = ["x\0y", "x\ny", "x\x1by", "x\x7fy", "x\x85y", "x\udcffy", "a" * 241, "é" * 121, "a/" * 2500]
INSIDE = r"""
.                  root
sub/folder         root/sub/folder
a/../b             root/b
../root            root
a.b/c..d           root/a.b/c..d
x;rm&'"(1)         root/x;rm&'"(1)
raw[1]/*           root/raw[1]/*
~                  home
~/                 home
~/pong/../x        home/x
~/near/x           allowed/x
BASE/root          root
BASE/allowed/x     allowed/x
BASE/temporary/x   temporary/x
"""
STEPS = ".. . ~ .x out third near self ping home root root_evil etc -"
WITH_BLANKS = [("~/a b/日本", "home/a b/日本"), ("a b/c", "root/a b/c"), (" ~/x\n", "home/x")]


# The variables


def test_an_empty_environment_gives_the_defaults_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere/home")
    root = Path("/somewhere/home/Downloads/tikhub_mcp")
    assert load_settings({}) == Settings("https://api.tikhub.io", root, (), 40, 3600, 1800, 4 * 2**30, "WARNING")
    assert (load_settings({}).videos, load_settings({}).raw, load_settings({}).reports) == (
        root / "videos",
        root / "raw",
        root / "reports",
    )


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_counts_as_unset(value: str) -> None:
    assert load_settings(dict.fromkeys(NON_SECRET_VARIABLES, value)) == load_settings({})


@pytest.mark.parametrize(
    "value",
    [
        "${SOME_VARIABLE}",
        " ${env:X}/y ",
        "/home/me/${workspaceFolder}/x",
        "${X:-/tmp}",
        "${X}:/data",
        "/data;${X}",
        "/a:${X}/b:/c",
    ],
)
@pytest.mark.parametrize("name", sorted(NON_SECRET_VARIABLES))
def test_a_variable_that_the_client_did_not_expand_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=f"variable {name} holds a placeholder"):
        load_settings({name: value})
    assert log_level({"TIKHUB_LOG_LEVEL": value}) == "WARNING"  # the server starts, to say so


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("下载", "下载/tikhub_mcp"),
        ("Downloads", "下载/tikhub_mcp"),
        ("Downloads/tikhub_mcp", "Downloads/tikhub_mcp"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="user-dirs.dirs is a file of Linux desktops")
def test_the_default_folder_is_in_the_users_downloads_folder_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DOWNLOAD_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / there).mkdir(parents=True)
    (tmp_path / ".config").mkdir(mode=0o700)
    (tmp_path / ".config" / "user-dirs.dirs").write_text('XDG_DOWNLOAD_DIR="$HOME/下载"\n', encoding="utf-8")
    assert load_settings({}).root == tmp_path / expected


def test_every_variable_is_read(tmp_path: Path) -> None:
    environ = {
        "TIKHUB_BASE_URL": "https://api.tikhub.dev/",
        "TIKHUB_OUTPUT_DIR": f"{tmp_path}/root/../out",
        "TIKHUB_ALLOWED_DIRS": os.pathsep.join(["", f" {tmp_path}/a ", "~/b", ""]),
        "TIKHUB_CALL_SECONDS": "20.5",
        "TIKHUB_REUSE_SECONDS": "0",
        "TIKHUB_DOWNLOAD_SECONDS": " 60 ",
        "TIKHUB_MAX_BYTES": "1e6",
        "TIKHUB_LOG_LEVEL": "debug",
    }
    folders = (tmp_path / "a", Path("~/b").expanduser())
    assert load_settings(environ) == Settings(
        "https://api.tikhub.dev", tmp_path / "out", folders, 20.5, 0, 60, 10**6, "DEBUG"
    )


def test_without_an_argument_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKHUB_BASE_URL", "https://proxy.example")
    monkeypatch.setenv("TIKHUB_LOG_LEVEL", "ERROR")
    monkeypatch.setenv("TIKHUB_API_KEY", KEY)
    assert (load_settings().base_url, log_level(), find_key().get_secret_value()) == (
        "https://proxy.example",
        "ERROR",
        KEY,
    )


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        load_settings({}).base_url = "https://evil.example"  # type: ignore[misc]


@pytest.mark.parametrize("value", ["abc", "-1", "nan", "inf", "1e300", "0x10", "10s", "5 000", "NaN\n"])
@pytest.mark.parametrize("name", ["CALL_SECONDS", "REUSE_SECONDS", "DOWNLOAD_SECONDS", "MAX_BYTES"])
def test_a_number_that_is_none_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        load_settings({f"TIKHUB_{name}": value})
    assert f"TIKHUB_{name}" in refused.value.message
    assert value not in refused.value.message


@pytest.mark.parametrize("name", ["OUTPUT_DIR", "ALLOWED_DIRS"])
@pytest.mark.parametrize("value", ["videos", "./videos", "$HOME/videos", "~no-such-user/videos", "/vid\0eos", "LOOP"])
def test_a_folder_that_is_not_absolute_or_leads_nowhere_is_refused(name: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    text = value.replace("LOOP", f"{tmp_path}/loop/videos")
    with pytest.raises(InvalidInput, match=f"TIKHUB_{name} must hold") as refused:
        load_settings({f"TIKHUB_{name}": text})
    assert text not in refused.value.message


@pytest.mark.parametrize("url", GOOD_BASES.split())
def test_the_base_may_be_any_https_address_and_http_only_on_loopback(url: str) -> None:
    assert load_settings({"TIKHUB_BASE_URL": f" {url}/ "}).base_url == url
    assert load_settings({"TIKHUB_BASE_URL": url}).on_loopback == url.startswith("http:")


@pytest.mark.parametrize("url", [*BAD_BASES.split(), "https://a b.example", "https://a\nb.example"])
def test_any_other_base_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInput, match="TIKHUB_BASE_URL") as refused:
        load_settings({"TIKHUB_BASE_URL": url})
    assert url not in refused.value.message.replace(DEFAULT_BASE_URL, "")


@pytest.mark.parametrize(("value", "level"), [("info", "INFO"), (" Critical ", "CRITICAL"), ("loud", "WARNING")])
def test_a_log_level_that_is_none_is_the_default_because_no_server_must_die_of_its_log(value: str, level: str) -> None:
    assert log_level({"TIKHUB_LOG_LEVEL": value}) == level


# The key


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An editable checkout: pyproject.toml, the package in it, and no SKILL.md yet."""
    (tmp_path / "tikhub_mcp").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(api_key, "_PACKAGE", tmp_path / "tikhub_mcp")
    return tmp_path


def skill(path: Path, section: str) -> Path:
    path.write_text(
        f"---\nname: x\n---\n\n# Title\n\nnot-this\n\n## API_KEY\n{section}\n## Next\n\nnor-this\n", "utf-8"
    )
    return path


def key(**environ: str) -> str:
    return find_key(environ).get_secret_value()


def test_the_key_is_looked_for_in_the_order_of_the_contract(checkout: Path) -> None:
    skill(checkout / "tikhub_mcp" / "SKILL.md", "of-the-package")
    assert key() == "of-the-package"
    skill(checkout / "SKILL.md", "of-the-checkout")
    assert key(TIKHUB_API_KEY="${TIKHUB_API_KEY}") == "of-the-checkout"
    named = str(skill(checkout / "mine.md", "of-the-named-file"))
    assert key(TIKHUB_API_KEY="YOUR_API_KEY", TIKHUB_SKILL_FILE=named) == "of-the-named-file"
    assert key(TIKHUB_API_KEY=KEY, TIKHUB_SKILL_FILE=named) == KEY


def test_without_a_pyproject_beside_the_package_a_skill_there_is_somebody_elses(checkout: Path) -> None:
    (checkout / "pyproject.toml").unlink()
    skill(checkout / "SKILL.md", "of-somebody-else")
    assert api_key.skill_files({}) == [checkout / "tikhub_mcp" / "SKILL.md"]
    with pytest.raises(KeyMissing):
        find_key({})


@pytest.mark.parametrize("named", ["", "${SKILL}", "~no-such-user/SKILL.md", "/no/such/file", "FOLDER"])
def test_a_skill_file_that_cannot_be_read_falls_through_to_the_next(checkout: Path, named: str) -> None:
    skill(checkout / "SKILL.md", "of-the-checkout")
    assert key(TIKHUB_SKILL_FILE=named.replace("FOLDER", str(checkout))) == "of-the-checkout"


@pytest.mark.parametrize("pasted", WRAPPED)
def test_what_people_paste_around_a_key_is_taken_off(checkout: Path, pasted: str) -> None:
    assert key(TIKHUB_API_KEY=pasted.format(KEY)) == KEY
    skill(checkout / "SKILL.md", f"\n{pasted.format(KEY)}\n")
    assert key() == KEY


@pytest.mark.parametrize(
    "section",
    [f"\n\n  {KEY}\n", f"<!-- put it\n\nbelow -->\n{KEY}", f"```\n{KEY}\n```", f"```text\n\n`{KEY}`", f"{KEY}\nx"],
)
def test_the_key_in_a_skill_is_the_first_line_of_its_section(checkout: Path, section: str) -> None:
    skill(checkout / "SKILL.md", section)
    assert key() == KEY


@pytest.mark.parametrize(
    "text",
    [
        *("", "## API_KEY", "## API_KEY\n\n## Other\nx-y", "### API_KEY\nabc", "# API_KEY\nabc"),
        "<!--" * 200_000 + f"\n## API_KEY\n{KEY}",  # a comment that does not end hides what follows
    ],
    ids=lambda text: text[:20],
)
def test_a_skill_without_the_section_or_with_an_empty_one_has_no_key(checkout: Path, text: str) -> None:
    (checkout / "SKILL.md").write_text(text)
    with pytest.raises(KeyMissing):
        find_key({})


@pytest.mark.parametrize(("text", "reason"), REASONS.items(), ids=lambda text: ascii(text[:20]))
def test_what_cannot_be_a_key_is_a_missing_key_and_never_repeated(checkout: Path, text: str, reason: str) -> None:
    with pytest.raises(KeyMissing) as unset:
        find_key({})
    with pytest.raises(KeyMissing) as missing:
        find_key({"TIKHUB_API_KEY": text})
    why = f" (The environment variable TIKHUB_API_KEY is set, but {reason}.)" if text.strip() else ""
    assert missing.value.message == unset.value.message + why
    assert missing.value.tell_human == f"{unset.value.tell_human}{why}"
    path = skill(checkout / "SKILL.md", " ".join(text.splitlines()))
    with pytest.raises(KeyMissing) as in_skill:
        find_key({})
    first, _, more = in_skill.value.message.removeprefix(unset.value.message).partition(f" (The key in {path} ")
    assert (first, more) == ("", "") or (
        first == "" and more[:-2] in REASONS.values()
    )  # a section is read line by line
    assert in_skill.value.message.removeprefix(unset.value.message) in str(in_skill.value.tell_human)


@pytest.mark.parametrize("reason", sorted(set(REASONS.values())))
def test_every_reason_is_said_in_chinese_too(reason: str) -> None:
    text = next(text for text, why in REASONS.items() if why == reason and text.strip())
    with pytest.raises(KeyMissing) as missing:
        find_key({"TIKHUB_API_KEY": text, "LC_ALL": "zh_CN.UTF-8"})
    in_chinese = translate(f"unusable_key.{reason}", {"LANG": "zh_CN.UTF-8"})
    assert f"（环境变量 TIKHUB_API_KEY 的值{in_chinese}。）" in str(missing.value.tell_human)


@pytest.mark.parametrize("text", [KEY, "k" * MAX_KEY_LENGTH, *RESEMBLING.split()])
def test_a_key_that_only_resembles_a_placeholder_is_a_key(text: str) -> None:
    assert key(TIKHUB_API_KEY=text) == text


def test_a_key_shows_itself_in_no_representation() -> None:
    found = find_key({"TIKHUB_API_KEY": KEY})
    assert KEY not in f"{found} {found!r} {[found]}"


def test_the_refusal_says_what_to_do_in_the_order_of_the_contract(checkout: Path) -> None:
    with pytest.raises(KeyMissing) as missing:
        find_key({})
    message, path = missing.value.message, str(checkout / "SKILL.md")
    parts = [
        "Stop this task now",
        "Tell the human user that they need to apply for their own paid personal API key at https://tikhub.io/",
        "fill it into the environment variable TIKHUB_API_KEY, or into",
        f"SKILL.md at {path}",
        "Until then do not continue with download, data fetching, retries, workarounds or made-up output",
    ]
    places = [message.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    assert path in str(missing.value.tell_human)


def test_the_refusal_names_the_skill_file_that_the_user_chose_by_its_absolute_path(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    with pytest.raises(KeyMissing) as missing:
        find_key({"TIKHUB_SKILL_FILE": "mine.md"})
    assert f"SKILL.md at {checkout / 'mine.md'}." in missing.value.message


@pytest.mark.parametrize("value", [KEY, "any-key", f"/{KEY}"])
def test_a_key_in_the_place_of_a_skill_file_is_not_repeated(checkout: Path, value: str) -> None:
    environ = {"TIKHUB_SKILL_FILE": value}
    with pytest.raises(KeyMissing) as missing:
        find_key(environ)
    assert value not in missing.value.message + str(missing.value.tell_human) + str([*key_places(environ)])
    (checkout / "key.txt").write_text(f"## API_KEY\n{KEY}")
    assert key(TIKHUB_SKILL_FILE=str(checkout / "key.txt")) == KEY


def test_in_a_chinese_locale_the_human_is_told_in_chinese_and_the_agent_in_english(checkout: Path) -> None:
    with pytest.raises(KeyMissing) as english:
        find_key({})
    with pytest.raises(KeyMissing) as chinese:
        find_key({"LANG": "zh_CN.UTF-8"})
    assert chinese.value.message == english.value.message
    told = str(chinese.value.tell_human)
    for part in (
        "您需要在 https://tikhub.io/ 申请自己的付费个人 API 密钥",
        "TIKHUB_API_KEY",
        str(checkout / "SKILL.md"),
    ):
        assert part in told


def test_a_file_is_read_only_when_its_place_is_asked_for(checkout: Path) -> None:
    named = checkout / "mine.md"
    places = key_places({"TIKHUB_API_KEY": KEY, "TIKHUB_SKILL_FILE": str(named)})
    assert next(places)[1].get_secret_value() == KEY
    skill(named, f"other-{KEY}")
    assert next(places)[1].get_secret_value() == f"other-{KEY}"


def test_every_place_is_told_with_what_stands_there_for_a_key(checkout: Path) -> None:
    named, packaged = checkout / "mine.md", checkout / "tikhub_mcp" / "SKILL.md"
    skill(named, f"`{KEY}`")
    found = list(key_places({"TIKHUB_API_KEY": " YOUR_API_KEY ", "TIKHUB_SKILL_FILE": str(named)}))
    assert [(name, secret.get_secret_value()) for name, secret in found] == [
        ("TIKHUB_API_KEY", "YOUR_API_KEY"),
        (str(named), KEY),
        (str(checkout / "SKILL.md"), ""),
        (str(packaged), ""),
    ]
    assert KEY not in repr(found)


def test_variables_are_told_without_values_that_may_be_a_key() -> None:
    environ = {"TIKHUB_API_KEY": KEY, "TIKHUB_APIKEY": KEY, "TIKHUB_MAX_BYTES": "5", "PATH": "/bin", "ALL_PROXY": ""}
    environ |= {"https_proxy": "http://h:1", "SSL_CERT_FILE": "/c.pem"}
    assert variables(environ) == {
        "TIKHUB_API_KEY": None,
        "TIKHUB_APIKEY": None,
        "TIKHUB_MAX_BYTES": "5",
        "SSL_CERT_FILE": "/c.pem",
        "https_proxy": "http://h:1",
    }


def test_a_key_that_is_filled_in_later_is_found_at_the_next_call(checkout: Path) -> None:
    environ: dict[str, str] = {}
    with pytest.raises(KeyMissing):
        find_key(environ)
    skill(checkout / "SKILL.md", KEY)
    assert find_key(environ).get_secret_value() == KEY
    environ["TIKHUB_API_KEY"] = "another-key-01"
    assert find_key(environ).get_secret_value() == "another-key-01"


# Where tools may read and write


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An allowed folder, a home, a temporary directory, much outside of them, and a root that does not exist yet."""
    for name in ("allowed", "home/.ssh", "temporary", "outside/deep", "root_evil"):
        (tmp_path / name).mkdir(parents=True)
    links = {"out": f"{tmp_path}/outside", "third": "out", "fourth": "third/deep", "near": "../allowed"}
    for name, target in {**links, "self": "self", "ping": "pong", "pong": "ping"}.items():
        (tmp_path / "home" / name).symlink_to(target)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "outside")
    return load_settings({"TIKHUB_OUTPUT_DIR": f"{tmp_path}/root", "TIKHUB_ALLOWED_DIRS": f"{tmp_path}/allowed"})


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_an_empty_path_is_the_default(world: Settings) -> None:
    assert [allowed_path(world, argument, world.raw) for argument in ("", " ", "\n")] == [world.raw] * 3


@pytest.mark.parametrize(
    ("argument", "leads_to"), [*(line.split() for line in INSIDE.strip().splitlines()), *WITH_BLANKS]
)
def test_a_path_inside_is_resolved_and_nothing_is_created(world: Settings, argument: str, leads_to: str) -> None:
    before = tree(world.root.parent)
    path = allowed_path(world, argument.replace("BASE", str(world.root.parent)), world.raw)
    assert path == world.root.parent / leads_to
    assert tree(world.root.parent) == before


@pytest.mark.parametrize("argument", [*OUTSIDE.split(), *UNUSABLE], ids=lambda argument: ascii(argument[:30]))
def test_a_path_outside_is_refused_and_nothing_is_created(world: Settings, argument: str) -> None:
    before = tree(world.root.parent)
    with pytest.raises(PathNotAllowed, match="Allowed are") as refused:
        allowed_path(world, argument.replace("BASE", str(world.root.parent)), world.raw)
    assert len(refused.value.message) < 300 + len(str(world.root))
    assert tree(world.root.parent) == before


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        *[
            ("x\0", "control"),
            ("a" * 241, "long"),
            ("file:x", "not a path"),
            ("$X/y", "unexpanded"),
            ("C:\\x", "Windows"),
        ],
        *[("~root", "another user's home"), ("/etc", "outside the folders"), ("~/self", "cannot be resolved")],
    ],
)
def test_a_refused_path_is_told_why_and_never_repeated(world: Settings, argument: str, why: str) -> None:
    with pytest.raises(PathNotAllowed, match=why) as refused:
        allowed_path(world, argument, world.raw)
    assert argument not in refused.value.message


def test_a_loop_of_links_is_refused_where_python_itself_is_silent_about_it(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "resolve", lambda path: Path(os.path.normpath(path)))  # as from Python 3.13 on
    with pytest.raises(PathNotAllowed, match="cannot be resolved"):
        allowed_path(world, "~/self/x", world.raw)


def test_a_root_that_is_a_link_or_is_hidden_itself_works(world: Settings) -> None:
    base = world.root.parent
    (base / "link").symlink_to(base / "outside")
    for root, leads_to in ((base / "link", base / "outside"), (base / "home/.cache/x", base / "home/.cache/x")):
        there = load_settings({"TIKHUB_OUTPUT_DIR": str(root)})
        assert there.root == leads_to
        assert allowed_path(there, f"{root}/sub", there.raw) == leads_to / "sub"
        assert allowed_path(there, "sub", there.raw) == leads_to / "sub"


@pytest.mark.parametrize("home", ["/", ".", None])
def test_a_home_that_is_the_whole_disk_or_none_at_all_is_no_permission(
    world: Settings, home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda text: text if home is None else text.replace("~", home))
    for argument in ("/etc/x", f"{world.root.parent}/outside/x", f"{world.root.parent}/home/x"):
        with pytest.raises(PathNotAllowed):
            allowed_path(world, argument, world.raw)
    assert allowed_path(world, "x", world.raw) == world.root / "x"


def test_without_a_home_the_home_sign_is_refused_and_the_output_folder_must_be_set(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda text: text)
    with pytest.raises(PathNotAllowed, match="cannot be resolved"):
        allowed_path(world, "~/x", world.raw)
    with pytest.raises(InvalidInput, match="TIKHUB_OUTPUT_DIR"):
        load_settings({})


@pytest.mark.parametrize("name", ["/", "/no/such/folder"])
def test_a_temporary_directory_that_is_the_whole_disk_or_missing_is_no_permission(
    world: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find() -> str:
        if name != "/":
            raise FileNotFoundError(name)
        return name

    monkeypatch.setattr(tempfile, "gettempdir", find)
    with pytest.raises(PathNotAllowed):
        allowed_path(world, "/etc/x", world.raw)
    assert allowed_path(world, "~/x", world.raw) == world.root.parent / "home" / "x"


PIECES = st.sampled_from(["", " ", *STEPS.split()]) | st.text(max_size=5)
PATHS = st.lists(PIECES, max_size=8).map("/".join) | st.text()


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(start=st.sampled_from(["", "/", "~/", "BASE/", "BASE/home/"]), rest=PATHS)
def test_whatever_is_given_the_path_is_inside_an_allowed_folder_or_refused(
    world: Settings, start: str, rest: str
) -> None:
    base = world.root.parent
    try:
        path = allowed_path(world, (start + rest).replace("BASE", str(base)), world.raw)
    except PathNotAllowed:
        return
    folder, *below = path.relative_to(base).parts
    assert folder in ("root", "allowed", "home", "temporary")
    assert not any(part.startswith(".") for part in below)
    assert str(path) == os.path.realpath(path)


LOCALES = {
    "zh_CN.UTF-8": True,
    "zh_TW": True,
    "zh": True,
    "ZH_cn.utf8": True,
    "en_US.UTF-8": False,
    "C": False,
    "POSIX": False,
    "": False,
}


@pytest.mark.parametrize(("locale", "expected"), LOCALES.items())
def test_people_are_spoken_to_in_the_language_of_their_locale(locale: str, *, expected: bool) -> None:
    assert said("one", "一", {"LANG": locale}) == ("一" if expected else "one")


def test_the_first_variable_that_is_set_decides_and_none_is_english() -> None:
    assert said("one", "一", {"LC_ALL": "", "LC_MESSAGES": "zh_CN", "LANG": "en_US"}) == "一"
    assert said("one", "一", {"LC_ALL": "C.UTF-8", "LANG": "zh_CN"}) == "one"
    assert said("one", "一", {}) == "one"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def enlarged(path: Path) -> None:
    skill(path, KEY)
    os.truncate(path, 200 << 20)


@pytest.mark.parametrize("make", [pipe, enlarged, Path.mkdir])
def test_a_skill_file_that_is_a_pipe_or_very_large_is_refused_at_once(
    checkout: Path, make: Callable[[Path], None]
) -> None:
    named = checkout / "mine.md"
    make(named)
    began = time.monotonic()
    with pytest.raises(KeyMissing, match="TIKHUB_SKILL_FILE is set, but names no SKILL") as missing:
        find_key({"TIKHUB_SKILL_FILE": str(named)})
    assert time.monotonic() - began < 1
    assert str(named) not in missing.value.message
    named.rename(checkout / "SKILL.md")
    with pytest.raises(KeyMissing):
        find_key({})


@pytest.mark.skipif(os.name == "nt", reason="file names there hold all characters")
def test_a_path_that_the_locale_cannot_encode_is_refused(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from tikhub_mcp.errors import PathNotAllowed
from tikhub_mcp.settings import environment, paths
try:
    paths.allowed_path(environment.Settings("https://api.example", Path({str(tmp_path)!r})), "\\u89c6", Path())
except PathNotAllowed as error:
    print(error.message[:28])
"""
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert ran.stdout.strip() == b"That path cannot be resolved"
