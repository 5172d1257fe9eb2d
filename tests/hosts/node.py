"""Node and the programs for it that package.json names, installed once a machine; and uv, which needs no network."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import pytest

from bundle import build
from tests.hosts.cache import installed_once
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.server import mcp

HERE = Path(__file__).parent
WANTED = HERE / "package.json"
SCRIPTS = Path(sys.executable).parent  # uv and mcp are there
OLDEST_NODE = (22, 19)  # what the Inspector asks for
NO_NETWORK = re.compile(r"E(NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH|HOSTUNREACH)|ENOTCACHED")
UV_NO_NETWORK = re.compile(r"error sending request|Failed to fetch|dns error|network was disabled", re.IGNORECASE)


@dataclass(frozen=True)
class Node:
    """The folder `node_modules`, with a Node that is new enough first on PATH."""

    modules: Path

    @property
    def path(self) -> str:
        return os.pathsep.join([str(self.modules / ".bin"), str(SCRIPTS), os.environ.get("PATH", os.defpath)])

    def environment(self, home: Path) -> dict[str, str]:
        """What a program finds; nothing of it is kept from one test to the next."""
        return {"PATH": self.path, "HOME": str(home), "npm_config_offline": "true"}

    def run(self, *command: str | Path, home: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one of the programs to its end."""
        name, *arguments = map(str, command)
        found = shutil.which(name, path=self.path)
        assert found, f"{name} is not in {self.path}"
        environment = self.environment(home)
        return subprocess.run(
            [found, *arguments], cwd=home, env=environment, capture_output=True, text=True, timeout=timeout
        )

    def said(self, code: str, *arguments: str, home: Path) -> Json:
        """The JSON that some lines of JavaScript print; `require` finds the packages, `args` are the arguments."""
        start = "const require = process.getBuiltinModule('node:module').createRequire(process.argv[1] + '/'),"
        program = f"{{ {start} args = process.argv.slice(2); {code} }}"
        ran = self.run("node", "-e", program, "--", self.modules, *arguments, home=home)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)


def install() -> Node:
    """The programs, from the cache or the registry; skips where they cannot be had."""
    if sys.platform == "win32":
        pytest.skip("these programs are started and ended here as POSIX systems do it")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which installs the Inspector, is not there")
    folder = installed_once("node", WANTED.read_bytes(), partial(_install, npm))
    node = Node(folder / "node_modules")
    version = node.run("node", "--version", home=folder).stdout  # the system's, where the registry has none for it
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_NODE:
        pytest.skip(f"Node is {version.strip()}; the Inspector needs 22.19")
    return node


def _install(npm: str, folder: Path) -> None:
    shutil.copy(WANTED, folder)
    quiet = [
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--fetch-timeout=90000",  # for a whole file: Claude Code's has 130 MB
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--fetch-retry-maxtimeout=3000",
    ]
    # No package needs its scripts here; a lock file would hold registry addresses.
    install = ["install", "--ignore-scripts", "--no-package-lock", *quiet]
    for command in (["ping", "--fetch-retries=0"], install):  # to find out at each package takes minutes
        try:
            ran = subprocess.run([npm, *command], cwd=folder, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            pytest.skip("npm's registry does not answer in time")
        if ran.returncode and NO_NETWORK.search(ran.stderr):
            pytest.skip("npm cannot reach its registry")
    assert ran.returncode == 0, ran.stderr


def uv_home(home: Path) -> Path:
    """A home in which uv installs this project from its cache, as a host with few variables starts it; or skips.

    Hosts hand on neither the variables that name certificates nor those of a cache: uv's own settings do.
    """
    uv = SCRIPTS / "uv"
    if not uv.exists():
        pytest.skip("uv is not there")
    checkout = home / "checkout"
    build.gather(checkout)
    with_mcp = [f"--with=mcp=={metadata.version('mcp')}", *(f"--with={name}" for name in mcp.dependencies)]
    arguments = ["--directory", str(checkout), "--extra", "xlsx", *with_mcp, "mcp", "version"]
    for offline in (["--offline"], []):  # the registry is asked only for what is not there yet
        try:
            ran = subprocess.run([uv, "run", *offline, *arguments], capture_output=True, text=True, timeout=200)
        except subprocess.TimeoutExpired:
            pytest.skip("uv's registry does not answer in time")
        if ran.returncode == 0:
            break
    if ran.returncode and UV_NO_NETWORK.search(ran.stderr):
        pytest.skip("uv cannot reach its registry")
    assert ran.returncode == 0, ran.stderr
    cache = subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    settings = home / ".config" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"cache-dir = {json.dumps(cache)}\noffline = true\n", encoding="utf-8")
    shutil.rmtree(checkout)
    return home
