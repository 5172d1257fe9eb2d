"""What the environment and SKILL.md come to, and where tools may read and write. Every key here is made up."""

import os
import pwd
import tempfile
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tikhub_mcp import settings
from tikhub_mcp.errors import InvalidInput, KeyMissing, PathNotAllowed
from tikhub_mcp.settings import DEFAULT_BASE_URL, LONGEST_KEY, Settings, allowed_path, find_key, load, log_level

KEY = "Made+Up/Key0123456789=="
MISSING = [  # what is no key, however it got there
    *("", " ", "\n", '""', "``", "'  '", "Bearer", "Bearer ", "TIKHUB_API_KEY=", "Bearer ${TIKHUB_API_KEY}"),
    *("YOUR_API_KEY", "your_private_api_key", "your-api-key-here", "YOUR_TIKHUB_API_KEY", "my_key", "<your key>", "<>"),
    *("INSERT_YOUR_KEY_HERE", "paste-your-api-key-here", "replace_with_your_real_key", "REPLACE_ME", "yourapikeyhere"),
    *("xxx", "XXXXXXXX", "xxxx-xxxx-xxxx", "sk-xxxx", "sk-...", "abcd...wxyz", "***", "...", "----", "____"),
    *("changeme", "CHANGE_ME", "todo", "tbd", "none", "null", "undefined", "placeholder", "example", "dummy"),
    *("${TIKHUB_API_KEY}", "${env:TIKHUB_API_KEY}", "x${KEY:-}", "$TIKHUB_API_KEY", "$env:TIKHUB_API_KEY", "%KEY%"),
    *("{TIKHUB_API_KEY}", "{{ key }}", "{{key}}", "[your key]", "TIKHUB_API_KEY", "tikhub_token", "api-key", "key"),
    *("made up key", "made\nup", "made\tup", "made\0up", "made\x7fup", "made\u00a0up", "clé", "你的密钥", "key\u200b"),
    *("k" * (LONGEST_KEY + 1), "k" * 10_240, "key\r\nX-Evil: 1"),
]
KEYS = [  # what could be taken for a placeholder, and is none
    *(KEY, "sandbox", "demo-key-of-the-sandbox", "mykey9f8a", "yourkey1", "keystone", "tokenised", "xxxy", "abxxxyz"),
    *(
        "sk-xxxa",
        "nonesuch",
        "a.b.c",
        "a-b_c",
        "api_key_9f8a",
        "tikhub_key_9f8a",
        "{open",
        "$",
        "%20",
        "k" * LONGEST_KEY,
    ),
]


# The variables


def test_an_empty_environment_gives_the_defaults_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere/home")
    root = Path("/somewhere/home/Downloads/tikhub_mcp")
    assert load({}) == Settings("https://api.tikhub.io", root, (), 40, 3600, 1800, 4 * 2**30, "WARNING")
    assert (load({}).videos, load({}).raw, load({}).reports) == (root / "videos", root / "raw", root / "reports")


@pytest.mark.parametrize("value", ["", "  ", "${SOME_VARIABLE}", " ${env:X}/y "])
def test_an_empty_or_unexpanded_variable_counts_as_unset(value: str) -> None:
    names = "BASE_URL OUTPUT_DIR ALLOWED_DIRS CALL_SECONDS REUSE_SECONDS DOWNLOAD_SECONDS MAX_BYTES LOG_LEVEL"
    assert load({f"TIKHUB_{name}": value for name in names.split()}) == load({})


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
    assert load(environ) == Settings("https://api.tikhub.dev", tmp_path / "out", folders, 20.5, 0, 60, 10**6, "DEBUG")


def test_without_an_argument_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKHUB_BASE_URL", "https://proxy.example")
    monkeypatch.setenv("TIKHUB_LOG_LEVEL", "ERROR")
    monkeypatch.setenv("TIKHUB_API_KEY", KEY)
    assert (load().base_url, log_level(), find_key().get_secret_value()) == ("https://proxy.example", "ERROR", KEY)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        load({}).base_url = "https://evil.example"  # type: ignore[misc]


@pytest.mark.parametrize("value", ["abc", "-1", "nan", "inf", "1e300", "0x10", "10s", "5 000", "NaN\n"])
@pytest.mark.parametrize("name", ["CALL_SECONDS", "REUSE_SECONDS", "DOWNLOAD_SECONDS", "MAX_BYTES"])
def test_a_number_that_is_none_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        load({f"TIKHUB_{name}": value})
    assert f"TIKHUB_{name}" in refused.value.message
    assert value not in refused.value.message


@pytest.mark.parametrize("name", ["OUTPUT_DIR", "ALLOWED_DIRS"])
@pytest.mark.parametrize("value", ["videos", "./videos", "$HOME/videos", "~no-such-user/videos", "/vid\0eos", "LOOP"])
def test_a_folder_that_is_not_absolute_or_leads_nowhere_is_refused(name: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    text = value.replace("LOOP", f"{tmp_path}/loop/videos")
    with pytest.raises(InvalidInput, match=f"TIKHUB_{name} must hold") as refused:
        load({f"TIKHUB_{name}": text})
    assert text not in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        *("https://api.tikhub.dev", "https://proxy.example:8443/tikhub", "HTTPS://API.TIKHUB.IO", "https://10.0.0.1"),
        *("http://127.0.0.1:8000", "http://127.9.9.9", "http://localhost:1", "http://LOCALHOST", "http://[::1]:8000"),
    ],
)
def test_the_base_may_be_any_https_address_and_http_only_on_loopback(url: str) -> None:
    assert load({"TIKHUB_BASE_URL": f" {url}/ "}).base_url == url
    assert load({"TIKHUB_BASE_URL": url}).on_loopback == url.startswith("http:")


@pytest.mark.parametrize(
    "url",
    [
        *("api.tikhub.io", "https://", "https:///x", "ftp://api.tikhub.io", "file:///etc/passwd", "//api.tikhub.io"),
        *("https://u:p@api.tikhub.io", "https://:p@api.tikhub.io", "https://@api.tikhub.io", "https://a.example?x=1"),
        *("https://a.example?", "https://a.example#", "https://a.example:99999", "https://[::1", "https://a b.example"),
        *("https://a\nb.example", "https://a.example\\@b.example", "http://api.tikhub.io", "http://10.0.0.1"),
        *("http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://0.0.0.0", "http://127.1"),
    ],
)
def test_any_other_base_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInput, match="TIKHUB_BASE_URL") as refused:
        load({"TIKHUB_BASE_URL": url})
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
    monkeypatch.setattr(settings, "_PACKAGE", tmp_path / "tikhub_mcp")
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
    assert settings.skill_files({}) == [checkout / "tikhub_mcp" / "SKILL.md"]
    with pytest.raises(KeyMissing):
        find_key({})


@pytest.mark.parametrize("named", ["", "${SKILL}", "~no-such-user/SKILL.md", "/no/such/file", "FOLDER"])
def test_a_skill_file_that_cannot_be_read_falls_through_to_the_next(checkout: Path, named: str) -> None:
    skill(checkout / "SKILL.md", "of-the-checkout")
    assert key(TIKHUB_SKILL_FILE=named.replace("FOLDER", str(checkout))) == "of-the-checkout"


@pytest.mark.parametrize(
    "pasted",
    [
        *(f"  {KEY}\n", f'"{KEY}"', f"'{KEY}'", f"`{KEY}`", f"“{KEY}”", f"\ufeff{KEY}\r\n", f"Bearer {KEY}"),
        *(f"bearer\t {KEY}", f'"Bearer {KEY}"', f"TIKHUB_API_KEY={KEY}", f"TIKHUB_API_KEY='Bearer {KEY} '"),
        *(f"\u3000{KEY}\u00a0", f'"\u00a0{KEY} "'),
    ],
)
def test_what_people_paste_around_a_key_is_taken_off(checkout: Path, pasted: str) -> None:
    assert key(TIKHUB_API_KEY=pasted) == KEY
    skill(checkout / "SKILL.md", f"\n{pasted}\n")
    assert key() == KEY


@pytest.mark.parametrize(
    "section",
    [f"\n\n  {KEY}\n", f"<!-- put it\n\nbelow -->\n{KEY}", f"```\n{KEY}\n```", f"```text\n\n`{KEY}`", f"{KEY}\nx"],
)
def test_the_key_in_a_skill_is_the_first_line_of_its_section(checkout: Path, section: str) -> None:
    skill(checkout / "SKILL.md", section)
    assert key() == KEY


@pytest.mark.parametrize(
    "text", ["", "## API_KEY", "## API_KEY\n\n## Other\nx-y", "### API_KEY\nabc", "# API_KEY\nabc"]
)
def test_a_skill_without_the_section_or_with_an_empty_one_has_no_key(checkout: Path, text: str) -> None:
    (checkout / "SKILL.md").write_text(text)
    with pytest.raises(KeyMissing):
        find_key({})


@pytest.mark.parametrize("text", MISSING)
def test_what_cannot_be_a_key_is_a_missing_key_and_never_repeated(checkout: Path, text: str) -> None:
    skill(checkout / "SKILL.md", text.replace("\n", " "))
    with pytest.raises(KeyMissing) as missing:
        find_key({"TIKHUB_API_KEY": text})
    said = missing.value.message + str(missing.value.tell_human) + repr(missing.value)
    assert len(text) < 9 or text in "TIKHUB_API_KEY=" or text not in said
    assert ("TIKHUB_API_KEY is set, but" in missing.value.message) == bool(text.strip())


@pytest.mark.parametrize("text", KEYS)
def test_a_key_that_only_resembles_a_placeholder_is_a_key(checkout: Path, text: str) -> None:  # noqa: ARG001
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


def test_a_key_that_is_filled_in_later_is_found_at_the_next_call(checkout: Path) -> None:
    environ: dict[str, str] = {}
    with pytest.raises(KeyMissing):
        find_key(environ)
    skill(checkout / "SKILL.md", KEY)
    assert find_key(environ).get_secret_value() == KEY
    environ["TIKHUB_API_KEY"] = "another-key"
    assert find_key(environ).get_secret_value() == "another-key"


# Where tools may read and write


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A root, an allowed folder, a home and a temporary directory, with much outside of them; all exist but the root."""
    for name in ("allowed", "home/.ssh", "temporary", "outside/deep", "root_evil"):
        (tmp_path / name).mkdir(parents=True)
    links = {"out": tmp_path / "outside", "third": "out", "fourth": "third/deep", "near": "../allowed", "self": "self"}
    for name, target in {**links, "ping": "pong", "pong": "ping"}.items():
        (tmp_path / "home" / name).symlink_to(target)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "outside")
    return load({"TIKHUB_OUTPUT_DIR": f"{tmp_path}/root", "TIKHUB_ALLOWED_DIRS": f"{tmp_path}/allowed"})


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_an_empty_path_is_the_default(world: Settings) -> None:
    assert [allowed_path(world, given, world.raw) for given in ("", " ", "\n")] == [world.raw] * 3


@pytest.mark.parametrize(
    ("given", "leads_to"),
    [
        *((".", "root"), ("sub/folder", "root/sub/folder"), ("a/../b", "root/b"), ("../root", "root")),
        *(
            ("~", "home"),
            ("~/", "home"),
            ("~/a b/日本", "home/a b/日本"),
            ("~/near/x", "allowed/x"),
            ("BASE/root", "root"),
        ),
        *(("BASE/allowed/x", "allowed/x"), ("BASE/temporary/x", "temporary/x"), (" ~/x\n", "home/x")),
        *(("a.b/c..d", "root/a.b/c..d"), ("x;rm&'\"(1)", "root/x;rm&'\"(1)"), ("raw[1]/*", "root/raw[1]/*")),
    ],
)
def test_a_path_inside_is_resolved_and_nothing_is_created(world: Settings, given: str, leads_to: str) -> None:
    before = tree(world.root.parent)
    path = allowed_path(world, given.replace("BASE", str(world.root.parent)), world.raw)
    assert path == world.root.parent / leads_to
    assert tree(world.root.parent) == before


@pytest.mark.parametrize(
    "given",
    [
        *(
            "/etc",
            "/",
            "..",
            "a/../../b",
            "../../../../../../etc",
            "~root",
            "~root/x",
            "~/..",
            "~/../outside",
            "//etc/x",
        ),
        *("C:\\x", "c:x", "\\\\srv\\x", "a\\b", "file:///x", "file:x", "https://x.example/y", "-rf", "--", "$HOME/x"),
        *("${HOME}/x", "%2e%2e", "%TEMP%\\x", "x\0y", "x\ny", "x\x1by", "x\x7fy", "x\x85y", "x\udcffy", "a" * 241),
        *("a/" * 2500, "é" * 121, "BASE/outside", "BASE/root_evil/x", "BASE", "BASE/root/../outside"),
        *(".git", "a/.ssh/b", "~/.ssh", "~/.ssh/authorized_keys", "BASE/temporary/.x", "BASE/allowed/a/.b/c"),
        *(
            "~/out",
            "~/out/x",
            "~/third",
            "~/fourth/x",
            "~/near/../outside",
            "~/self",
            "~/self/x",
            "~/ping",
            "~/pong/../x",
        ),
    ],
)
def test_a_path_outside_is_refused_and_nothing_is_created(world: Settings, given: str) -> None:
    before = tree(world.root.parent)
    with pytest.raises(PathNotAllowed, match="Allowed are") as refused:
        allowed_path(world, given.replace("BASE", str(world.root.parent)), world.raw)
    assert len(refused.value.message) < 300 + len(str(world.root))
    assert tree(world.root.parent) == before


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
        there = load({"TIKHUB_OUTPUT_DIR": str(root)})
        assert there.root == leads_to
        assert allowed_path(there, f"{root}/sub", there.raw) == leads_to / "sub"
        assert allowed_path(there, "sub", there.raw) == leads_to / "sub"


@pytest.mark.parametrize("home", ["/", "", ".", None])
def test_a_home_that_is_the_whole_disk_or_none_at_all_is_no_permission(
    world: Settings, home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME")
    if home is not None:
        monkeypatch.setenv("HOME", home)
    for given in ("/etc/x", f"{world.root.parent}/outside/x", f"{world.root.parent}/home/x"):
        with pytest.raises(PathNotAllowed):
            allowed_path(world, given, world.raw)
    assert allowed_path(world, "x", world.raw) == world.root / "x"


def test_without_a_home_the_home_sign_is_refused_and_the_output_folder_must_be_set(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    monkeypatch.delenv("HOME")
    with pytest.raises(PathNotAllowed, match="cannot be resolved"):
        allowed_path(world, "~/x", world.raw)
    with pytest.raises(InvalidInput, match="TIKHUB_OUTPUT_DIR"):
        load({})


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


PIECES = [
    "..",
    ".",
    "~",
    "",
    " ",
    ".x",
    "out",
    "third",
    "near",
    "self",
    "ping",
    "home",
    "root",
    "root_evil",
    "etc",
    "-",
]
PATHS = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8).map("/".join) | st.text()


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
    real = Path(os.path.realpath(path))
    inside = [
        real.relative_to(base / name)
        for name in ("root", "allowed", "home", "temporary")
        if base / name in (real, *real.parents)
    ]
    assert inside, path
    assert not any(part.startswith(".") for part in inside[0].parts)
    assert path == real
