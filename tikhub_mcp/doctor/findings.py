"""What a check of the installation found, in lines that can be pasted into a report.

Never in them: the key, a proxy's password, the name of the home directory.
"""

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from rich.cells import set_cell_size

from tikhub_mcp.messages import said
from tikhub_mcp.posts.answer import redact_text
from tikhub_mcp.settings.api_key import key_places
from tikhub_mcp.text import clean

State = Literal["ok", "warning", "problem"]

NAMES = {
    "versions": "版本",
    "extras": "可选组件",
    "key": "密钥",
    "clients": "客户端",
    "settings": "设置",
    "videos": "视频文件夹",
    "raw": "原始数据",
    "reports": "报表文件夹",
    "disk": "磁盘空间",
    "proxy": "代理",
    "name": "域名解析",
    "connection": "连接",
    "certificate": "证书",
    "sandbox": "沙盒试跑",
    "account": "账户",
}
_STATES = {"ok": "正常", "warning": "警告", "problem": "问题"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to.

    Attributes:
        check: One of NAMES.
        state: Only a problem keeps something from working.
        found: For people, in their language.
        advice: What to do; empty where nothing is to be done.
    """

    check: str
    state: State
    found: str
    advice: str = ""

    def __str__(self) -> str:
        state, name = said(self.state, _STATES[self.state]), said(self.check, NAMES[self.check])
        lines = [f"{set_cell_size(state, 8)} {set_cell_size(name, 12)} {self.found}"]
        return "\n".join(lines + [f"{'':22}-> {self.advice}"] * bool(self.advice))


def summing_up(findings: list[Finding]) -> str:
    """The last line."""
    problems, warnings = (sum(each.state == state for each in findings) for state in ("problem", "warning"))
    return said(f"\nProblems: {problems}. Warnings: {warnings}.", f"\n问题：{problems}。警告：{warnings}。")


def as_json(findings: list[Finding]) -> str:
    """All of them for programs."""
    return json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2)


def redact_finding(finding: Finding) -> Finding:
    """The finding without what is nobody else's business."""
    return replace(finding, found=_public(finding.found), advice=_public(finding.advice))


def _public(text: str) -> str:
    """The last step: what is put in is fit to be shown already, see shown.py; but a path or a cause may hold these."""
    for _, key in key_places():
        text = redact_text(text, key.get_secret_value())
    with suppress(OSError, RuntimeError):  # there may be no home
        for home in {Path.home(), Path.home().resolve()} - {Path(Path.home().anchor)}:
            text = re.sub(re.escape(str(home)) + r"(?![\w.-])", "~", text)
    return clean(text, 1000)
