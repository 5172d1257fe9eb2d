"""Agent frameworks, each installed once a machine in an environment of its own, with a program that uses it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts.cache import installed_once
from tests.hosts.node import HERE, SCRIPTS, UV_NO_NETWORK
from tikhub_mcp.posts.answer import Json

# What they call tools through is pinned too: the client decides what a time limit does to a call.
PINNED = {
    "langchain": ["langchain==1.5.2", "langchain-mcp-adapters==0.3.2", "langchain-openai==1.7.4", "mcp==1.30.0"],
    "openai": ["openai-agents==0.24.0", "mcp==2.3.0"],
}


@dataclass(frozen=True)
class Framework:
    """A framework, and the Python that has its packages."""

    name: str
    python: Path

    def run(self, told: Json, home: Path) -> str:
        """What the framework's program prints; nothing of this environment reaches it."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home)}
        command = [str(self.python), "-I", str(HERE / f"{self.name}_agent.py"), json.dumps(told)]
        ran = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()


def install(name: str) -> Framework:
    """A framework, from the cache or the index; skips where it cannot be had."""
    if sys.platform == "win32":
        pytest.skip("the environments are made here as POSIX systems have them")
    uv = SCRIPTS / "uv"
    if not uv.exists():
        pytest.skip("uv, which makes the environments, comes with .[dev]")

    def make(folder: Path) -> None:
        venv = str(folder / "venv")
        packages = ["pip", "install", "--compile-bytecode", "--python", venv, *PINNED[name]]
        for command in (["venv", "--python", sys.executable, venv], packages):
            try:
                ran = subprocess.run(
                    [uv, "--no-config", "-q", *command], cwd=folder, capture_output=True, text=True, timeout=300
                )
            except subprocess.TimeoutExpired:
                pytest.skip("the package index does not answer in time")
            if UV_NO_NETWORK.search(ran.stderr):
                pytest.skip("no package index can be reached")
            assert ran.returncode == 0, ran.stderr

    pins = json.dumps([sys.version, *PINNED[name]]).encode()
    return Framework(name, installed_once(name, pins, make) / "venv" / "bin" / "python")
