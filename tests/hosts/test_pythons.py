"""Every Python that is promised and that this machine has, with the lowest and the newest libraries that are allowed.

Each is installed clean, from what an index has, and does what the README's first command does: the demo starts the
server over stdio, shakes hands and calls all three tools.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts.node import UV_NO_NETWORK

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
MINORS = range(11, 15)
UV = Path(sys.executable).with_name("uv")


def interpreter(minor: int) -> str | None:
    """A Python of this minor version that runs: one of pyenv's, or on the PATH.

    What pyenv puts on the PATH are scripts, which run only where it has chosen that version.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    own = sorted((pyenv / "versions").glob(f"3.{minor}.*/bin/python"), reverse=True)
    named = [shutil.which(f"python3.{minor}", path=folder) for folder in os.get_exec_path()]
    return next((python for python in filter(None, (*map(str, own), *named)) if is_python(python, minor)), None)


def is_python(path: str, minor: int) -> bool:
    asked = [path, "-I", "-c", f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"]
    return subprocess.run(asked, capture_output=True, timeout=60).returncode == 0


def uv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([UV, "--no-config", *arguments], capture_output=True, text=True, timeout=300, cwd=PROJECT)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An index to install from, or a skip: what is tried is our bounds, not the network."""
    if not UV.is_file():
        pytest.skip("uv, which makes the environments, comes with .[dev]")
    bare = tmp_path_factory.mktemp("bare") / "venv"
    assert uv("venv", "-q", "--python", sys.executable, bare).returncode == 0
    tried = uv("pip", "install", "-q", "--python", bare, "hatchling>=1.26,<2")
    if UV_NO_NETWORK.search(tried.stderr):
        pytest.skip("no package index can be reached")
    assert tried.returncode == 0, tried.stderr


def test_a_python_on_the_path_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minor = sys.version_info.minor
    name = f"python3.{minor}"
    (tmp_path / "shims").mkdir()
    (tmp_path / "shims" / name).write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "shims" / name).chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / name).symlink_to(sys.executable)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    assert interpreter(minor) is None
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}{os.pathsep}{tmp_path / 'bin'}")
    assert interpreter(minor) == str(tmp_path / "bin" / name)


@pytest.mark.index
@pytest.mark.timeout(400)
@pytest.mark.parametrize("resolution", ["lowest-direct", "highest"])
@pytest.mark.parametrize("minor", MINORS)
def test_the_demo_runs_from_a_clean_install(index: None, tmp_path: Path, minor: int, resolution: str) -> None:
    python = interpreter(minor)
    if python is None:
        pytest.skip(f"this machine has no Python 3.{minor}")
    venv = tmp_path / "venv"
    made = uv("venv", "-q", "--python", python, venv)
    assert made.returncode == 0, made.stderr
    installed = uv("pip", "install", "-q", "--python", venv, "--resolution", resolution, f"{PROJECT}[xlsx,report]")
    assert installed.returncode == 0, installed.stderr
    folder = venv / ("Scripts" if os.name == "nt" else "bin")
    out = tmp_path / "out"
    environment = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    demo: list[str | Path] = ["demo", "-o", out]
    summary: list[str | Path] = ["summarize", "-i", out / "raw", "--formats", "csv,json,xlsx,html"]
    for command in (demo, summary):
        ran = subprocess.run(
            [folder / "tikhub-mcp", *command],
            capture_output=True,
            text=True,
            timeout=100,
            env=environment,
            cwd=tmp_path,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (
        len(list(tmp_path.glob("tikhub_*"))) == 4
    )  # the four formats; no post was asked for twice, so there is no history
