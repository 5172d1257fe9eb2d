"""Nothing is imported or run from the working directory: real processes in a folder full of modules that would tell."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from py_compile import PycInvalidationMode
from py_compile import compile as compile_file
from typing import Any, NamedTuple

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, get_default_environment, stdio_client

from tests.support.mcp_session import CANARY, checked
from tikhub_mcp import isolation
from tikhub_mcp.cli import demo
from tikhub_mcp.doctor import checks
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.install import entries
from tikhub_mcp.sandbox import Sandbox, link
from tikhub_mcp.settings.program import server_command
from tikhub_mcp.summary import page

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 26, 10, 15, tzinfo=UTC)
SCRIPT = Path(sys.executable).with_name("tikhub-mcp")
MODULE = [sys.executable, "-m", "tikhub_mcp"]
NO_SCRIPT = server_command(platform="win32")  # of an installation whose script is not beside Python
SITE = {"sitecustomize", "usercustomize"}  # tried before anything else, and not there as a rule
MODULES = set(sys.stdlib_module_names) | set(packages_distributions()) | SITE | {"a_plugin"}
PROGRAMS = ("uname", "python", "python3", "tikhub-mcp", "ldconfig", "gcc", "uv", "node", "sh")
ENTRY_POINTS = """
[pydantic]
a = a_plugin:a
[opentelemetry_context]
contextvars_context = a_plugin:a
[opentelemetry_propagator]
tracecontext = a_plugin:a
baggage = a_plugin:a
"""


class Way(NamedTuple):
    """How this program is started; `early` are modules that Python itself imports from there before our first line."""

    command: list[str]
    python_path: str | None
    early: bool


BY_SCRIPT = Way([str(SCRIPT)], None, early=False)
BY_ENTRY = Way(NO_SCRIPT, ":", early=False)
ISOLATED = Way([sys.executable, "-I", "-m", "tikhub_mcp"], ".:", early=False)
SAFE_PATH = Way([sys.executable, "-P", "-m", "tikhub_mcp"], "", early=False)
BY_MODULE = Way(MODULE, None, early=True)
BY_MODULE_WITH_PATH = Way(MODULE, ".", early=True)
BY_SCRIPT_WITH_PATH = Way([str(SCRIPT)], ":", early=True)
# As the script, with several commands, each of them a text with tabs: they need not import everything again.
SEVERAL = """
import sys
from tikhub_mcp.__main__ import main
for command in sys.argv[1:]:
    sys.argv = ["tikhub-mcp", *command.split("\\t")]
    if code := main():
        sys.exit(code)
"""
IN_TURN = Way([sys.executable, "-c", SEVERAL], ":", early=True)


class Trap:
    """A folder whose modules, programs and plugins leave a mark with the key that they found."""

    def __init__(self, tmp_path: Path, spared: Iterable[str] = ()) -> None:
        tmp_path.mkdir(exist_ok=True)
        self.folder, self.marks = tmp_path / "project", tmp_path / "marks"
        for folder in (self.folder, self.marks, self.folder / "a_plugin-1.dist-info", tmp_path / "home"):
            folder.mkdir()
        for name in MODULES - set(spared):
            (self.folder / f"{name}.py").write_text(self.code(name), encoding="utf-8")
        for name in PROGRAMS:
            program = self.folder / name
            program.write_text(f'#!/bin/sh\nprintenv TIKHUB_API_KEY > "{self.marks / name}-program"\n')
            program.chmod(0o755)
        (self.folder / "a_plugin-1.dist-info" / "METADATA").write_text("Name: a_plugin\nVersion: 1\n")
        (self.folder / "a_plugin-1.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
        if not spared:
            (self.folder / "tikhub_mcp").mkdir()
            for name in ("__init__", "__main__", "cli"):
                (self.folder / "tikhub_mcp" / f"{name}.py").write_text(self.code("tikhub_mcp"), encoding="utf-8")

    def code(self, name: str) -> str:
        mark = str(self.marks / name)  # written without text, which a false `encodings` would not allow
        return f"import io, os\nio.open({mark!r}, 'ab', 0).write(os.environb.get(b'TIKHUB_API_KEY', b'no key'))\n"

    @property
    def sprung(self) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8").strip() for path in self.marks.iterdir()}


@cache
def before_us() -> frozenset[str]:
    """What Python, its `-m` and the script that pip made import before the first line of this package."""
    tell = "import sys\nprint(*sys.modules)\n"
    script = SCRIPT.read_text(encoding="utf-8").partition("from tikhub_mcp")[0] + tell
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "a_package")
        package.mkdir()
        for name, code in (("__init__", ""), ("__main__", tell)):
            (package / f"{name}.py").write_text(code, encoding="utf-8")
        commands = [[sys.executable, "-m", "a_package"], [sys.executable, "-c", script]]
        # Without variables, of which one would start the measuring of coverage, and with it much else.
        told = [
            subprocess.run(each, cwd=folder, check=True, capture_output=True, text=True, env={}) for each in commands
        ]
    return frozenset(name.partition(".")[0] for ran in told for name in ran.stdout.split()) | SITE


@pytest.fixture
def environment(tmp_path: Path, sandbox: Sandbox) -> dict[str, str]:
    """As an editor has it that was started in a shell, with the working directory among the folders of programs."""
    return {
        "TIKHUB_API_KEY": CANARY,
        "TIKHUB_BASE_URL": sandbox.base_url,
        "TIKHUB_OUTPUT_DIR": str(tmp_path / "root"),
        "HOME": str(tmp_path / "home"),
        "PATH": f":{os.defpath}",
        "LC_ALL": "C.UTF-8",
    }


class Started(NamedTuple):
    """A way to start this program, in a folder that is a trap for it."""

    way: Way
    trap: Trap
    environment: dict[str, str]

    def run(self, *arguments: str, code: int = 0) -> str:
        ran = subprocess.run(
            [*self.way.command, *arguments],
            cwd=self.trap.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert self.trap.sprung == {}
        assert (ran.returncode, ran.stderr) == (code, ""), arguments
        return ran.stdout


@pytest.fixture
def started(request: pytest.FixtureRequest, tmp_path: Path, environment: dict[str, str]) -> Started:
    way: Way = request.param
    if way.python_path is not None:
        environment["PYTHONPATH"] = way.python_path
    return Started(way, Trap(tmp_path, before_us() if way.early else ()), environment)


def by(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("started", [globals()[name] for name in names], indirect=True, ids=names)


def test_the_trap_works(tmp_path: Path, environment: dict[str, str]) -> None:
    trap = Trap(tmp_path, before_us())
    code = "import httpx, subprocess\nprint(subprocess.__file__)"
    subprocess.run([sys.executable, "-c", code], cwd=trap.folder, env=environment, check=False, capture_output=True)
    assert trap.sprung == {"httpx": CANARY, "subprocess": CANARY}
    trap = Trap(tmp_path / "plugin", MODULES - {"a_plugin"})
    code = "from pydantic import BaseModel\nclass Model(BaseModel): pass"
    subprocess.run([sys.executable, "-c", code], cwd=trap.folder, env=environment, check=False)
    assert trap.sprung == {"a_plugin": CANARY}
    code = "import os; os.execlp('uname', 'uname')"
    subprocess.run([sys.executable, "-I", "-c", code], cwd=trap.folder, env=environment, check=True)
    assert trap.sprung["uname-program"] == CANARY


def test_what_python_imports_before_us_is_little(tmp_path: Path, environment: dict[str, str]) -> None:
    # These cannot be kept out by anything that this package does, so the documents name a way that keeps them out.
    assert {"encodings", "site"} <= before_us()
    assert not {"argparse", "asyncio", "json", "subprocess", "httpx", "mcp", "vl_convert"} & before_us()
    trap = Trap(tmp_path)
    subprocess.run(MODULE, cwd=trap.folder, env=environment, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    assert set(trap.sprung.values()) == {CANARY}
    assert set(trap.sprung) & {*before_us(), "tikhub_mcp"}


# The server


@pytest.mark.anyio
@by("BY_MODULE_WITH_PATH")
async def test_the_server_imports_nothing_from_the_project_that_an_editor_has_open(
    started: Started, tmp_path: Path
) -> None:
    command, *args = started.way.command
    server = StdioServerParameters(command=command, args=args, env=started.environment, cwd=started.trap.folder)
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        async with Client(stdio_client(server, log)) as client:
            assert len((await client.list_tools()).tools) == 3
            one = await client.call_tool("download_video", {"url": link("tiktok")})
            assert checked("download_video", one)["status"] == "ok"
            made = await client.call_tool("summarize_raw", {"formats": ["csv", "json", "xlsx", "html"]})
            assert checked("summarize_raw", made)["status"] == "ok"
    assert started.trap.sprung == {}
    assert (tmp_path / "log").read_text(encoding="utf-8") == ""
    assert {path.suffix for path in (tmp_path / "root" / "reports").iterdir()} == {".csv", ".json", ".xlsx", ".html"}


# The command line


@by("IN_TURN")
def test_no_command_imports_or_runs_anything_from_where_it_is_called(started: Started, tmp_path: Path) -> None:
    (tmp_path / "links.txt").write_text(f"{link('tiktok')}\n{link('douyin')}\n", encoding="utf-8")
    (tmp_path / "home" / ".cursor").mkdir(parents=True)
    tables = tmp_path / "tables"
    commands = [
        ["one", link("tiktok")],
        ["batch", str(tmp_path / "links.txt")],
        ["summarize", "--formats", "csv,json,xlsx", "-o", str(tables)],
        ["doctor"],
        ["install", "cursor", "--yes"],
    ]
    assert "\nProblems: 0. Warnings: 0.\n" in started.run(*map("\t".join, commands))
    assert {path.suffix for path in tables.iterdir()} == {".csv", ".json", ".xlsx"}
    entry = json.loads((tmp_path / "home" / ".cursor" / "mcp.json").read_bytes())["mcpServers"]["tikhub"]
    assert entry == {"command": str(SCRIPT)}


@by("BY_MODULE")
def test_the_sandbox_neither(started: Started) -> None:
    command = [*started.way.command, "sandbox", "--port", "0"]
    with subprocess.Popen(
        command, cwd=started.trap.folder, env=started.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"A stand-in")
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert started.trap.sprung == {}


@by("BY_SCRIPT", "BY_ENTRY", "ISOLATED", "SAFE_PATH", "BY_MODULE", "BY_MODULE_WITH_PATH", "BY_SCRIPT_WITH_PATH")
def test_every_way_to_start_it_leaves_the_working_directory_out(started: Started) -> None:
    assert "summarize" in started.run("--help")


def test_a_folder_named_relative_to_the_working_directory_is_left_out_too(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    trap = Trap(tmp_path, before_us())
    environment |= {"PYTHONPATH": "project", "PYTHONPYCACHEPREFIX": "compiled"}
    source = find_spec("argparse")
    assert source is not None
    assert source.origin is not None
    target = tmp_path / "compiled" / Path(cache_from_source(source.origin)).relative_to("/").parent.parent
    mine = trap.folder / "argparse.py"
    compile_file(
        str(mine),
        str(target / Path(cache_from_source(source.origin)).name),
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    subprocess.run([SCRIPT, "--help"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert trap.sprung == {}
    code = "import argparse"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False, capture_output=True)
    assert "argparse" in trap.sprung  # so both would have been


@pytest.mark.parametrize("where", [ROOT, Path(next(iter(isolation._folders_of_python() & set(sys.path))))])
@pytest.mark.parametrize("command", [MODULE, [str(SCRIPT)]])
def test_it_works_in_its_own_checkout_and_where_python_keeps_its_modules(
    environment: dict[str, str], where: Path, command: list[str]
) -> None:
    environment["PYTHONPATH"] = ":"
    ran = subprocess.run([*command, "doctor", "--help"], cwd=where, env=environment, check=True, capture_output=True)
    assert b"--online" in ran.stdout


def test_it_works_where_the_working_directory_is_gone(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "gone").mkdir()
    gone = f'cd "{tmp_path}/gone" && rmdir "{tmp_path}/gone" && exec "{SCRIPT}" --help'
    ran = subprocess.run(["/bin/sh", "-c", gone], env=environment, check=True, capture_output=True)
    assert b"summarize" in ran.stdout
    (tmp_path / "gone").mkdir()
    there = gone.replace("--help", "summarize")
    ran = subprocess.run(["/bin/sh", "-c", there], env=environment, check=False, capture_output=True)
    assert (ran.returncode, ran.stderr[:52]) == (2, b"error: invalid_input: The path . leads nowhere: [Err")


def test_before_it_leaves_the_working_directory_out_it_imports_nothing() -> None:
    code = "import sys\nbefore = {*sys.modules}\nimport tikhub_mcp.__main__\nprint(*sorted({*sys.modules} - before))"
    ran = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True, env={})
    assert ran.stdout.split() == ["tikhub_mcp", "tikhub_mcp.__main__", "tikhub_mcp.isolation"]


# What is importable


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which has other names as well."""
    (tmp_path / "here" / "src").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "here")
    (tmp_path / "lib").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path / "here"


def test_a_folder_is_importable_unless_it_is_the_working_directory_or_relative_to_it(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [str(tmp_path / "lib"), str(here / "lib"), str(tmp_path / "no-such.zip"), *isolation._folders_of_python()]
    left_out = ["", ".", "src", "../here", str(here), f"{here}/", f"{here}/src/..", str(tmp_path / "link")]
    monkeypatch.setattr(sys, "path", [*left_out, *kept])
    assert isolation.importable() == kept


def test_what_python_made_absolute_counts_as_relative_still(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(here / "src"), str(tmp_path / "lib")])
    assert isolation.importable() == sys.path
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["./src", str(tmp_path / "lib")]))
    assert isolation.importable() == [str(tmp_path / "lib")]


def test_where_python_itself_is_may_be_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in isolation._folders_of_python() & set(sys.path):
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PYTHONPATH", ".")
        assert folder in isolation.importable()


# Child processes


FALSE_LIBRARY = """
import json, os, sys
def javascript_bundle(_):
    told = {"environment": dict(os.environ), "folder": os.getcwd(), "isolated": sys.flags.isolated, "path": sys.path}
    return json.dumps(told)
"""


def test_the_process_that_makes_the_charts_has_no_key_and_imports_only_from_where_this_one_does(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib" / "vl_convert.py").write_text(FALSE_LIBRARY)  # as with `pip install --target` and PYTHONPATH
    (here / "vl_convert.py").write_text("raise SystemExit(9)")
    monkeypatch.setattr(sys, "path", ["", str(here), str(tmp_path / "lib"), *sys.path])
    secret = {"TIKHUB_API_KEY": CANARY, "TIKHUB_APIKEY": CANARY, "OPENAI_API_KEY": CANARY, "PYTHONPATH": ":"}
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    page.library.cache_clear()
    try:
        told = json.loads(page.library())
    finally:
        page.library.cache_clear()
    assert CANARY not in str(told)
    assert set(told["environment"]) <= isolation._FOR_CHILDREN | {"LC_CTYPE"}  # that one Python adds itself
    assert (told["folder"], told["isolated"]) == (isolation.PACKAGE_FOLDER, 1)
    assert not {"", str(here)} & set(told["path"])


@pytest.mark.parametrize("starter", [demo, checks])
def test_the_servers_that_demo_and_doctor_start_are_isolated_and_have_a_key_of_the_sandbox(
    starter: Any,  # noqa: ANN401 - a module
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Seen(Exception):
        pass

    def start(*, command: str, args: list[str], env: Mapping[str, str], cwd: str) -> None:
        seen.append((command, args, {**get_default_environment(), **env}, cwd))
        raise Seen

    seen: list[tuple[str, list[str], dict[str, str], str]] = []
    place = "mcp.client.stdio.StdioServerParameters" if starter is demo else f"{checks.__name__}.StdioServerParameters"
    monkeypatch.setattr(place, start)
    monkeypatch.setenv("TIKHUB_API_KEY", CANARY)
    monkeypatch.setenv("PYTHONPATH", ":")
    with pytest.raises(Seen):
        starter.run(tmp_path) if starter is demo else next(iter(checks._round_trip()))
    [(command, args, env, cwd)] = seen
    assert (command, args[:2], cwd) == (sys.executable, ["-I", "-c"], isolation.PACKAGE_FOLDER)
    assert CANARY not in str(env)
    assert not [name for name in env if name.startswith("PYTHON")]


def test_a_child_server_finds_the_package_of_a_checkout_that_is_the_working_directory_and_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert str(ROOT) not in isolation.importable()
    *command, code = isolation.isolated_server_command()
    assert repr(str(ROOT)) in code
    ran = subprocess.run([*command, code, "--version"], check=True, capture_output=True, text=True, env={})
    assert ran.stdout.startswith("tikhub-mcp ")


# Entries of clients


def test_an_entry_without_a_script_is_isolated_and_an_old_one_is_brought_up_to_date(tmp_path: Path) -> None:
    assert [sys.executable, "-E", "-P", "-m", "tikhub_mcp"] == NO_SCRIPT
    path = tmp_path / "mcp.json"
    old = {"command": sys.executable, "args": ["-m", "tikhub_mcp"], "env": {"TIKHUB_API_KEY": "mine"}}
    path.write_text(json.dumps({"mcpServers": {"tikhub": old}}))
    entries.install("cursor", path, NO_SCRIPT).write(NOW)
    assert json.loads(path.read_bytes())["mcpServers"]["tikhub"] == {**old, "args": NO_SCRIPT[1:]}


def test_a_python_that_does_not_know_where_it_is_is_not_put_into_an_entry() -> None:
    with pytest.raises(InvalidInput, match="does not know its own path"):
        server_command("")


@pytest.mark.parametrize(
    ("args", "state"),
    [
        (["-m", "tikhub_mcp"], "warning"),
        (["-E", "-u", "-m", "tikhub_mcp"], "warning"),
        (["-I", "-m", "tikhub_mcp"], "ok"),
        (["-uP", "-m", "tikhub_mcp"], "ok"),
        (NO_SCRIPT[1:], "ok"),
        (["run", "tikhub_mcp"], "ok"),
        ("-m tikhub_mcp", "ok"),
        (None, "ok"),
    ],
)
def test_doctor_warns_of_an_entry_that_imports_from_the_open_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: object, state: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    entry = {"command": sys.executable, "args": args, "env": {"TIKHUB_API_KEY": "made-up-key-of-a-client"}}
    (tmp_path / ".cursor").mkdir()
    (tmp_path / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": {"tikhub": entry}}))
    [found] = checks._clients()
    assert found.state == state
    assert ("open project" in found.found) == (state == "warning")


def test_doctor_does_not_take_a_program_in_the_working_directory_for_the_one_of_an_entry(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "tikhub-mcp").write_text("#!/bin/sh\n")
    (here / "tikhub-mcp").chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f":{os.defpath}")
    (tmp_path / ".cursor").mkdir()
    for command in ("tikhub-mcp", "./tikhub-mcp"):
        (tmp_path / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": {"tikhub": {"command": command}}}))
        [found] = checks._clients()
        assert (found.state, " is not there (" in found.found) == ("problem", True)
