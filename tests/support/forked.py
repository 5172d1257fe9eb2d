"""Python processes that need not import this package: forks of a helper that has done so.

Each process of pytest has one helper: this module, started as a program. A start of Python with the same imports takes
as long as most tests. Tests of starting, of imports, and of variables that Python itself reads start Python.
"""

import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import tikhub_mcp


class Forked(subprocess.Popen[Any]):
    """As `Popen` of `[sys.executable, "-m", module, ...]`, or `-c` and code; with streams, `cwd` and `env` only."""

    if sys.platform == "linux":  # elsewhere it is a start of Python

        def _execute_child(self, args: list[str], *options: Any) -> None:  # noqa: ANN401 - as Popen has them
            cwd, env, pipes = options[4], options[5], options[9:15]
            ends = [given if given != -1 else own for own, given in enumerate((pipes[0], pipes[3], pipes[5]))]
            order = {"args": args[1:], "cwd": str(cwd or Path.cwd()), "env": dict(os.environ if env is None else env)}
            self._told, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with told:
                socket.send_fds(_helper(), [json.dumps(order).encode()], [*ends, told.fileno()])
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
            self.pid = int(self._told.recv(20))
            self._child_created = True

        def _try_wait(self, wait_flags: int) -> tuple[int, int]:
            if not select.select([self._told], [], [], 0 if wait_flags else None)[0]:
                return 0, 0
            with self._told:
                return self.pid, int(self._told.recv(20))

        def _internal_poll(self, *_: object, **__: object) -> int | None:
            with self._waitpid_lock:  # type: ignore[attr-defined]
                if self.returncode is None and (ended := self._try_wait(os.WNOHANG))[0]:
                    self._handle_exitstatus(ended[1])  # type: ignore[attr-defined]
            return self.returncode


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:  # noqa: ANN401 - as Popen has them
    """As `subprocess.run`, with the output captured."""
    with Forked(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@cache
def _helper() -> socket.socket:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    null = subprocess.DEVNULL
    with its:
        command = [sys.executable, "-m", __name__, str(its.fileno())]
        process = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], stdin=null, stdout=null, pass_fds=[its.fileno()]
        )
    process.returncode = 0  # it ends with the last process that holds our end of the socket
    return ours


def _help(asked: socket.socket) -> None:
    """Fork a process for each order, and one that tells its number and what it ended with."""
    for module in pkgutil.walk_packages(tikhub_mcp.__path__, "tikhub_mcp."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that tell
    while True:
        order, ends, *_ = socket.recv_fds(asked, 10**6, 4)
        if not order:
            return None
        if not os.fork():
            asked.close()
            with socket.socket(fileno=ends.pop()) as told:
                _tell(told, ends)
            return _become(json.loads(order), ends)
        for end in ends:
            os.close(end)


def _tell(told: socket.socket, ends: list[int]) -> None:
    """Return in a process of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process:
        for end in ends:
            os.close(end)
        told.send(str(process).encode())
        told.send(str(os.waitpid(process, 0)[1]).encode())
        os._exit(0)


def _become(order: dict[str, Any], ends: list[int]) -> None:
    for own, (end, name) in enumerate(zip(ends, ("stdin", "stdout", "stderr"), strict=True)):
        os.dup2(end, own)
        os.close(end)
        setattr(sys, name, open(own, "w" if own else "r", buffering=1 if own == 2 else -1, closefd=False))  # noqa: SIM115
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    how, what, *arguments = order["args"]
    sys.argv = [what, *arguments]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what, {"__name__": "__main__"})


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as socket_of_the_tests:
        _help(socket_of_the_tests)
