"""The commands of the Dockerfile without Docker: installed, and run with a root that nothing can be written to."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.hosts.node import NO_NETWORK, UV_NO_NETWORK
from tests.support.team import ACCEPT, INITIALIZE, wait_for_health

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROJECT = Path(__file__).parents[2]
STEPS = re.findall(r"^([A-Z]+) +(.+)$", (PROJECT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
PIP_NO_NETWORK = re.compile(r"Could not find a version|NewConnectionError|Network is unreachable|ProxyError")


def step(name: str) -> list[str]:
    """What follows an instruction, wherever it is."""
    return [rest for instruction, rest in STEPS if instruction == name]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in step("ENV") for pair in shlex.split(line))


class Container:
    """The folders of the image in a temporary one, and its variables with paths in them."""

    def __init__(self, folder: Path) -> None:
        self.places = {"/opt/tikhub": str(folder / "opt"), "/src": str(folder / "src"), "/data": str(folder / "data")}
        self.data = folder / "data"
        for place in ("src", "data"):
            (folder / place).mkdir()
        moved = {name: self.move(value) for name, value in environment().items()}
        self.environment = {**moved, "PATH": f"{moved['PATH']}:{Path(sys.executable).parent}:{os.defpath}"}

    def move(self, text: str) -> str:
        """A command or path with the temporary places in it."""
        for place, there in self.places.items():
            text = re.sub(rf"(?<![\w/]){place}(?![\w])", there, text)
        return text

    def copy(self) -> None:
        """The instruction COPY, for what comes from the checkout."""
        for line in step("COPY"):
            *sources, target = line.split()
            if sources[0].startswith("--from"):
                continue
            for name in sources:
                source, to = PROJECT / name, Path(self.places["/src"]) / target / (name if target == "./" else "")
                (shutil.copytree if source.is_dir() else shutil.copy)(source, to)

    def read_only(self, command: list[str]) -> list[str]:
        """The command, where nothing but the volume can be written to, as far as this system allows."""
        mounts = f"mount --bind {self.data} {self.data} && mount -o remount,bind,ro /"
        tried = ["unshare", "-rm", "sh", "-c"]
        if shutil.which("unshare") and subprocess.run([*tried, mounts], capture_output=True).returncode == 0:
            return [*tried, f'{mounts} && exec "$@"', "sh", *command]
        return command


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Container:
    made = Container(tmp_path_factory.mktemp("image"))
    made.copy()
    [install] = [line for line in step("RUN") if "pip install" in line]
    ran = subprocess.run(
        made.move(install), shell=True, cwd=made.places["/src"], capture_output=True, text=True, timeout=500
    )
    if ran.returncode and (
        UV_NO_NETWORK.search(ran.stderr) or PIP_NO_NETWORK.search(ran.stderr) or NO_NETWORK.search(ran.stderr)
    ):
        pytest.skip("no package index can be reached")
    assert ran.returncode == 0, ran.stderr
    return made


@pytest.mark.index
def test_the_commands_of_the_dockerfile_run_on_a_root_that_is_read_only(container: Container) -> None:
    [entry], serve = json.loads(step("ENTRYPOINT")[0]), json.loads(step("CMD")[0])
    tool = shutil.which(entry, path=container.environment["PATH"])
    assert tool
    assert tool.startswith(container.places["/opt/tikhub"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {
        **container.environment,
        "TIKHUB_HTTP_PORT": str(port),
        "TIKHUB_HTTP_PUBLIC_URL": "https://team.example",
    }
    refused = subprocess.run(
        container.read_only([tool, *serve]), env=variables, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2  # nobody could be let in
    added = subprocess.run(
        container.read_only([tool, "token", "add", "alice"]), env=variables, capture_output=True, text=True, timeout=60
    )
    token = added.stdout.strip()
    assert token.startswith("tikhub_"), added.stderr
    log = container.data / "log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(container.read_only([tool, *serve]), env=variables, stderr=errors) as process,
    ):
        try:
            wait_for_health(f"http://127.0.0.1:{port}/health")
            check = json.loads(step("HEALTHCHECK")[0].partition("CMD ")[2])
            assert subprocess.run(check, env=variables, timeout=30).returncode == 0
            wrong = {**variables, "TIKHUB_HTTP_PORT": "1"}
            assert subprocess.run(check, env=wrong, capture_output=True, timeout=30).returncode != 0
            headers = {**ACCEPT, "Authorization": f"Bearer {token}", "Host": "team.example"}
            answer = httpx.post(f"http://127.0.0.1:{port}/mcp", json=INITIALIZE, headers=headers, trust_env=False)
            assert answer.status_code == 200, log.read_text()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, log.read_text()
    assert not [
        path for path in Path(container.places["/opt/tikhub"]).rglob("*") if path.name.endswith((".part", ".log"))
    ]


def test_the_image_runs_as_nobody_in_particular_and_names_one_volume() -> None:
    assert [int(user) for user in step("USER")] == [10001]
    assert [json.loads(volume) for volume in step("VOLUME")] == [["/data"]]
    assert all("slim" in line for line in step("FROM"))
    written = ("HOME", "TMPDIR", "TIKHUB_OUTPUT_DIR")
    assert {environment()[name] for name in written} == {"/data"}
    assert not [name for name in environment() if "KEY" in name or "TOKEN" in name]


def test_nothing_but_what_is_installed_is_sent_to_the_builder() -> None:
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = {name for line in step("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
