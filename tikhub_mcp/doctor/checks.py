"""The checks of an installation: versions, API key, clients, settings, folders, network, and one call of the server.

The API key is sent only by the account check, which `--online` turns on.
"""

import asyncio
import platform
import re
import shutil
import string
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from pydantic import SecretStr

from tikhub_mcp import __version__, isolation
from tikhub_mcp.doctor.connectivity import check_account, check_network
from tikhub_mcp.doctor.findings import Finding, redact_finding
from tikhub_mcp.errors import InvalidInput, KeyMissing
from tikhub_mcp.install.entries import client_entries, environment_in, unreadable_settings
from tikhub_mcp.messages import said
from tikhub_mcp.sandbox import Sandbox, link
from tikhub_mcp.settings import shown
from tikhub_mcp.settings.api_key import UNUSABLE_IN_CHINESE, find_key, key_places, skill_files, why_unusable
from tikhub_mcp.settings.environment import NON_SECRET_VARIABLES, Settings, load_settings, variables
from tikhub_mcp.settings.shown import failure, has_form, setting
from tikhub_mcp.storage.temporary import temporary_folder
from tikhub_mcp.summary import extras

ROUND_TRIP_SECONDS = 30.0  # includes the start of Python and the imports
MIN_FREE_BYTES = 2**30


def examine(*, online: bool) -> Iterator[Finding]:
    """Run all checks, and yield each finding as soon as it is known.

    An exception in a check becomes a finding, and the other checks still run. Findings are redacted.

    Args:
        online: Whether to ask TikHub about the account. The request is free; no other check sends the API key.
    """
    settings, wrong = None, ""
    try:
        settings = load_settings()
    except InvalidInput as error:
        wrong = error.message
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "versions": _versions,
        "extras": _extras,
        "key": _key,
        "clients": _clients,
        "settings": partial(_settings, wrong),
    }
    if settings:
        checks |= {"videos": partial(_folders, settings), "connection": partial(check_network, settings)}
    else:
        checks["videos"] = _not_looked_at
    checks["sandbox"] = _round_trip
    if settings and online:
        checks["account"] = partial(check_account, settings, _usable_key())
    for name, check in checks.items():
        try:
            for finding in check():
                yield redact_finding(finding)
        except Exception as error:  # noqa: BLE001 - the boundary of one check: the others still run
            cause: BaseException = error
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            broke = said(f"this check broke off: {failure(cause)}", f"检查中断：{failure(cause)}")
            yield redact_finding(Finding(name, "problem", broke))


def _versions() -> Iterator[Finding]:
    libraries = []
    for name in ("mcp", "httpx", "pydantic", "msgspec"):
        try:
            libraries.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            libraries.append(said(f"{name} is missing", f"缺少 {name}"))
    system = f"Python {platform.python_version()}, {_system()}"
    yield Finding("versions", "ok", f"tikhub-mcp {__version__}, {system}, {', '.join(libraries)}")


def _system() -> str:
    """The operating system, its version, and the machine.

    `platform.platform` is not used: it runs `uname` from PATH.
    """
    name, mac, libc = platform.system(), platform.mac_ver()[0], "".join(platform.libc_ver())
    release = mac or (platform.version() if name == "Windows" else platform.release())
    return "-".join(filter(None, ("macOS" if mac else name, release, platform.machine(), libc and f"with-{libc}")))


def _extras() -> Iterator[Finding]:
    installed = {extra: extras.is_installed(extra) for extra in extras.LIBRARIES}
    words = {True: said("installed", "已安装"), False: said("not installed", "未安装")}
    missing = [extra for extra, present in installed.items() if not present]
    command = extras.install_command(missing)
    advice = said(f"Only if you want them, in the checkout: {command}", f"需要时再装，在代码目录里：{command}")
    found = ", ".join(f"{extra}: {words[present]}" for extra, present in installed.items())
    yield Finding("extras", "ok", found, advice if missing else "")


def _key() -> Iterator[Finding]:
    used, places = "", []
    for name, secret in key_places():
        key = secret.get_secret_value()
        reason = why_unusable(key)
        if not key:
            state = said("nothing there", "没有")
        elif reason:
            state = said(reason, UNUSABLE_IN_CHINESE[reason])
        elif used:
            state = said("a key too, not used", "也有密钥，未采用")
        else:
            state = said("used", "采用")
            used = said(f"from {name}: {_shape(key)}; ", f"来自 {name}：{_shape(key)}；")
        places.append(said(f"{name} ({state})", f"{name}（{state}）"))
    searched = said(f"looked at: {', '.join(places)}", f"查找过：{'、'.join(places)}")
    if used:
        yield Finding("key", "ok", used + searched)
        return
    if any(_key_of(entry) is None for *_, entry in client_entries()):
        yield Finding(
            "key",
            "ok",
            said(
                f"in a client's entry, not in this shell; {searched}",
                f"在客户端的条目里，不在当前 shell 中；{searched}",
            ),
        )
        return
    advice = said(
        "Apply for your own key at https://tikhub.io/ and put it into TIKHUB_API_KEY, in the settings of your client "
        f"(a desktop client does not see what a shell exports), or under '## API_KEY' in {skill_files()[0]}.",
        "请在 https://tikhub.io/ 申请自己的密钥，在客户端的设置里填入 TIKHUB_API_KEY"
        f"（桌面客户端看不到 shell 里的 export），或写在 {skill_files()[0]} 的“## API_KEY”之下。",
    )
    yield Finding("key", "problem", said(f"no usable key; {searched}", f"没有可用的密钥；{searched}"), advice)


def _usable_key() -> SecretStr | None:
    try:
        return find_key()
    except KeyMissing:
        return None


def _shape(key: str) -> str:
    classes = [said("letters", "字母")] * any(char.isalpha() for char in key)
    classes += [said("digits", "数字")] * any(char.isdigit() for char in key)
    classes += ["".join(sorted(set(key) & set(string.punctuation)))]
    kinds = said(", ", "、").join(filter(None, classes))
    return said(f"{len(key)} characters ({kinds})", f"{len(key)} 个字符（{kinds}）")


def _key_of(entry: Mapping[str, Any]) -> str | None:
    """Why the server of this entry finds no key; None if it finds one, or if the client asks the user for it."""
    env = environment_in(entry.get("env"))
    if "${" in (key := env.get("TIKHUB_API_KEY", "")):
        return None
    try:
        find_key(env)
    except KeyMissing:
        reason = why_unusable(key)
        return (
            said(f"its key {reason}", f"其中的密钥{UNUSABLE_IN_CHINESE[reason]}")
            if key
            else said("no key in it", "其中没有密钥")
        )
    return None


def _imports_from_project(entry: Mapping[str, Any]) -> bool:
    """Whether an entry runs `python -m tikhub_mcp` without -I or -P.

    Python then imports modules from the working directory.
    """
    given = entry.get("args")
    args = [str(arg) for arg in given] if isinstance(given, list) else []
    options = args[: args.index("tikhub_mcp")] if "tikhub_mcp" in args else []
    return "-m" in options and not any(re.fullmatch("-[a-zA-Z]*[IP][a-zA-Z]*", option) for option in options)


def _clients() -> Iterator[Finding]:
    """Check the settings files of clients, and each entry for the server: its command and its API key.

    A client does not pass this shell's environment on to its servers.
    """
    none = True
    for client, path, why in unreadable_settings():
        none = False
        advice = said("Repair the file: its client cannot read it either.", "请修复此文件：客户端同样无法读取。")
        yield Finding("clients", "problem", f"{client}: {path}: {why}", advice)
    for client, path, entry in client_entries():
        none = False
        command = str(entry.get("command", ""))
        advice = said("Enter it anew with `tikhub-mcp install`.", "请用 `tikhub-mcp install` 重新写入。")
        # A relative path is resolved against this process's working directory; the client's is another one.
        if not Path(shutil.which(command) or "").is_absolute():
            safe = shown.command(command)
            found = said(f"{client}: {safe} is not there ({path})", f"{client}：找不到 {safe}（{path}）")
            yield Finding("clients", "problem", found, advice)
        elif _imports_from_project(entry):
            found = said(
                f"{client}: python -m imports modules from the open project's folder, with your key ({path})",
                f"{client}：python -m 会从打开的项目文件夹导入模块，并带有您的密钥（{path}）",
            )
            yield Finding("clients", "warning", found, advice)
        elif reason := _key_of(entry):
            advice = said(
                "The server then looks into SKILL.md only. `tikhub-mcp install … --with-key` puts the key in.",
                "这时服务器只会在 SKILL.md 里找密钥。`tikhub-mcp install … --with-key` 可写入密钥。",
            )
            yield Finding("clients", "warning", f"{client}: {reason} ({path})", advice)
        else:
            yield Finding("clients", "ok", said(f"{client}: {command}, with a key", f"{client}：{command}，有密钥"))
    if none:
        found = said("no client has an entry where it is looked for", "在常见位置没有找到客户端的条目")
        yield Finding(
            "clients",
            "ok",
            found,
            said("`tikhub-mcp install HOST` makes one.", "可用 `tikhub-mcp install HOST` 写入。"),
        )


def _not_looked_at() -> Iterator[Finding]:
    reason = said("not looked at, because of the settings", "因设置有误而未检查")
    for name in ("videos", "connection"):
        yield Finding(name, "warning", reason)


def _settings(wrong: str) -> Iterator[Finding]:
    ours = {name: value for name, value in variables().items() if name.startswith("TIKHUB_")}
    unread = [name for name in ours if name not in {*NON_SECRET_VARIABLES, "TIKHUB_API_KEY"}]
    malformed = [name for name, value in ours.items() if value is not None and not has_form(name, value)]
    values = ", ".join(setting(name, value) for name, value in ours.items())
    found = values or said("no TIKHUB_ variable is set", "没有设置任何 TIKHUB_ 变量")
    repair = said("Mend or unset that variable.", "请改正或删去这个变量。")
    advice = said(f"Nothing reads {', '.join(unread)}: misspelt?", f"没有程序读取 {'、'.join(unread)}：是否拼错？")
    if wrong:
        yield Finding("settings", "problem", f"{wrong} ({found})", repair)
    else:
        steps = " ".join([advice] * bool(unread) + [repair] * bool(malformed))
        yield Finding("settings", "warning" if steps else "ok", found, steps)


def _folders(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("videos", settings.videos), ("raw", settings.raw), ("reports", settings.reports)):
        try:
            parent = _existing(folder)
            with tempfile.TemporaryFile(dir=parent):  # the folder itself is created only when it is needed
                pass
        except OSError as error:
            found = said(f"{folder} cannot be written: {error.strerror}", f"{folder} 不可写：{error.strerror}")
            advice = said(
                "Change who may write there, or TIKHUB_OUTPUT_DIR.", "请修改其权限，或另设 TIKHUB_OUTPUT_DIR。"
            )
            yield Finding(name, "problem", found, advice)
        else:
            note = "" if parent == folder else said(" (will be made when needed)", "（需要时会创建）")
            yield Finding(name, "ok", f"{folder}{note}")
    free = shutil.disk_usage(_existing(settings.root)).free
    found = said(f"{free / 2**30:.1f} GiB free for {settings.root}", f"{settings.root} 剩余 {free / 2**30:.1f} GiB")
    advice = said(
        "Make room, or set TIKHUB_OUTPUT_DIR to another disk.", "请清理磁盘，或把 TIKHUB_OUTPUT_DIR 设到别的磁盘。"
    )
    yield Finding("disk", "ok", found) if free >= MIN_FREE_BYTES else Finding("disk", "warning", found, advice)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _round_trip() -> Iterator[Finding]:
    began = time.monotonic()
    status = asyncio.run(_one_call())
    took = time.monotonic() - began
    if status == "ok":
        found = said(f"server, protocol and one post in {took:.1f} s", f"服务器、协议和一个作品，用时 {took:.1f} 秒")
        yield Finding("sandbox", "ok", found)
    else:
        advice = said("Run `tikhub-mcp demo`, which shows more.", "请运行 `tikhub-mcp demo` 查看详情。")
        yield Finding("sandbox", "problem", said(f"the call came back as {status}", f"调用结果为 {status}"), advice)


async def _one_call() -> str:
    """The status that the real server returns over stdio for one call against the sandbox."""
    with temporary_folder() as folder, Sandbox() as sandbox:
        environment = {
            "TIKHUB_API_KEY": "doctors-key-of-the-sandbox",
            "TIKHUB_BASE_URL": sandbox.base_url,
            "TIKHUB_OUTPUT_DIR": str(folder),
        }
        command, *args = isolation.isolated_server_command()
        server = StdioServerParameters(command=command, args=args, env=environment, cwd=isolation.PACKAGE_FOLDER)
        async with asyncio.timeout(ROUND_TRIP_SECONDS), Client(server) as client:
            result = await client.call_tool("download_video", {"url": link("tiktok"), "metrics_only": True})
            return str((result.structured_content or {}).get("status"))
