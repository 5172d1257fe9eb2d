"""Packaging: what is in the wheel, and that no filled-in API key ever is."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from bundle import build as bundle_build
from tikhub_mcp.settings import api_key
from tikhub_mcp.settings.skill_text import key_section

ROOT = Path(__file__).parents[2]
KEY = "a-key-that-nobody-has"
PACKED = {
    "tikhub_mcp/py.typed",
    "tikhub_mcp/messages.json",
    "tikhub_mcp/sandbox/shapes.json",
    "tikhub_mcp/__main__.py",
} | {
    f"tikhub_mcp/sandbox/media/{name}"
    for name in ("h264.mp4", "h264_dash.mp4", "h264_large.mp4", "h265.mp4", "h265_silent.mp4", "music.m4a")
}

EMPTY = {
    "nothing": "",
    "blank lines": "\n \n\t\n",
    "another section": f"\n## Errors\n\n{KEY}\n",
}
FILLED = {
    "a key": f"\n{KEY}\n",
    "a key at the end of the file": f"\n\n\n{KEY}",
    "a key in back-ticks": f"\n`{KEY}`\n",
    "an assignment": f"\nTIKHUB_API_KEY={KEY}\n",
    "a block of code": f"\n```\n{KEY}\n```\n",
    "a key behind a comment": f"\n<!-- here: -->\n{KEY}\n\n## Errors\n",
    "a key behind a comment on its line": f"\n<!-- here: --> {KEY}\n",
    "a second section of that name": f"\n\n## Errors\n\n## API_KEY\n{KEY}\n",
    "a key between other line ends": f"\n## Errors\n\u2028## API_KEY\x85{KEY}",
    "a key in a comment": f"\n<!-- mine:\n{KEY} -->\n",
    "a sub-section": f"\n### Mine\n{KEY}\n",
}


def skill(under: str, newline: str = "\n") -> str:
    return f"---\nname: tikhub-mcp\n---\n\n# Title\n\n## API_KEY\n{under}".replace("\n", newline)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """hatch_build.py, with hatchling's class in place of which anything will do."""
    for name in ("hatchling", "hatchling.builders", "hatchling.builders.hooks", "hatchling.builders.hooks.plugin"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    interface = ModuleType("hatchling.builders.hooks.plugin.interface")
    interface.__dict__["BuildHookInterface"] = SimpleNamespace
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def initialize(build: ModuleType, root: Path, target: str, version: str = "standard") -> dict[str, str]:
    """What the hook adds to a build."""
    build_data: dict[str, dict[str, str]] = {"force_include": {}}
    build.SkillHook(root=str(root), target_name=target).initialize(version, build_data)
    return build_data["force_include"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("what", EMPTY)
def test_a_skill_without_a_key_is_packed(build: ModuleType, tmp_path: Path, what: str, newline: str) -> None:
    path = tmp_path / "SKILL.md"
    path.write_bytes(skill(EMPTY[what], newline).encode())
    assert initialize(build, tmp_path, "wheel") == {str(path): "tikhub_mcp/SKILL.md"}
    assert initialize(build, tmp_path, "sdist") == {}  # it is there by pyproject.toml
    assert api_key.why_unusable(api_key._key_in_skill(path)) == "is empty"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("what", FILLED)
def test_of_a_skill_with_a_key_the_wheel_has_the_rest_and_a_source_distribution_is_refused(
    build: ModuleType, tmp_path: Path, what: str, newline: str
) -> None:
    encoding = "utf-8-sig" if newline == "\r\n" else "utf-8"  # as editors on Windows write it
    (tmp_path / "SKILL.md").write_bytes(skill(FILLED[what], newline).encode(encoding))
    build_data: dict[str, dict[str, str]] = {"force_include": {}}
    hook = build.SkillHook(root=str(tmp_path), target_name="wheel")
    hook.initialize("standard", build_data)
    [(copy, target)] = build_data["force_include"].items()
    published = Path(copy).read_text(encoding="utf-8")
    assert target == "tikhub_mcp/SKILL.md"
    assert published.startswith("---\nname: tikhub-mcp\n---\n\n# Title\n")
    assert ("## Errors" in published) == ("## Errors" in FILLED[what])
    assert KEY not in published
    assert "API_KEY" not in published
    hook.finalize("standard", build_data, "")
    assert not Path(copy).exists()
    with pytest.raises(ValueError, match="holds an API key") as caught:
        initialize(build, tmp_path, "sdist")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("what", FILLED)
def test_an_editable_install_may_have_a_key(build: ModuleType, tmp_path: Path, what: str) -> None:
    (tmp_path / "SKILL.md").write_text(skill(FILLED[what]), encoding="utf-8")
    assert initialize(build, tmp_path, "wheel", "editable") == {}


@pytest.mark.parametrize("text", ["", "# Title\n", "### API_KEY\n", "## api_key\n"])
def test_a_skill_without_the_section_is_not_packed(build: ModuleType, tmp_path: Path, text: str) -> None:
    (tmp_path / "SKILL.md").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="has no section '## API_KEY'"):
        initialize(build, tmp_path, "wheel")


def test_the_skill_of_this_repository_can_be_packed(build: ModuleType) -> None:
    assert key_section((ROOT / "SKILL.md").read_text(encoding="utf-8")) == ""
    assert initialize(build, ROOT, "wheel") == {str(ROOT / "SKILL.md"): "tikhub_mcp/SKILL.md"}


def test_the_hook_and_the_command_are_declared_and_what_they_need_is_there_and_not_ignored() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert declared["tool"]["hatch"]["build"]["hooks"]["custom"]["path"] == "hatch_build.py"
    assert declared["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["tikhub_mcp"]
    assert declared["project"]["scripts"] == {"tikhub-mcp": "tikhub_mcp.__main__:main"}
    ignored = pytest.importorskip("pathspec").GitIgnoreSpec.from_lines(
        (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    )
    for name in PACKED:
        assert (ROOT / name).is_file()
        assert not ignored.match_file(name)  # hatchling leaves out what git ignores


def test_an_old_pip_gets_as_far_as_the_version_of_python_that_is_needed() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    ran = subprocess.run([sys.executable, ROOT / "setup.py"], capture_output=True, text=True, timeout=30)
    assert ran.returncode == 1
    assert f"Python {needed.removeprefix('>=')} or newer" in ran.stderr


def test_the_bundle_is_packed_by_the_pinned_packer_which_npx_fetches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="comes with Node"):
        bundle_build.packer("")
    npx = tmp_path / "npx"
    npx.touch(0o700)
    program, *options = bundle_build.packer("")
    assert (program, options[0]) == (str(npx), "--yes")
    assert re.fullmatch(r"@anthropic-ai/mcpb@[\d.]+", options[1])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling, which builds it, is not there")
def test_the_wheel_holds_all_of_it_and_never_a_key(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "SKILL.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, project)
    shutil.copytree(ROOT / "tikhub_mcp", project / "tikhub_mcp", ignore=shutil.ignore_patterns("__pycache__"))
    arguments = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path), str(project)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        assert packed.read("tikhub_mcp/SKILL.md") == (ROOT / "SKILL.md").read_bytes()
    assert names >= PACKED
    assert not {name for name in names if not name.startswith(("tikhub_mcp/", "tikhub_mcp-"))}
    (project / "SKILL.md").write_text(skill(FILLED["a key"]), encoding="utf-8")
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    with zipfile.ZipFile(wheel) as packed:
        assert packed.read("tikhub_mcp/SKILL.md").decode() == "---\nname: tikhub-mcp\n---\n\n# Title\n"
