"""Puts SKILL.md into the wheel, and refuses to pack one that holds somebody's API key."""

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def key_section(text: str) -> str:
    """What stands under every `## API_KEY`, without comments and blanks: empty in a SKILL.md that may be published."""
    lines = "\n".join(text.removeprefix("\ufeff").splitlines())  # what ends a line for the server, too
    sections: list[str] = re.findall(r"^## API_KEY[^\S\n]*$(.*?)(?=^## |\Z)", lines, re.MULTILINE | re.DOTALL)
    if not sections:
        raise ValueError("SKILL.md has no section '## API_KEY'")
    return re.sub(r"<!--.*?-->", "", "".join(sections), flags=re.DOTALL).strip()


class SkillHook(BuildHookInterface):
    """An editable install reads the checkout's SKILL.md, filled in or not; everything that is packed has it empty."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Check the section, and add the file to the wheel."""
        if version == "editable":
            return
        skill = Path(self.root) / "SKILL.md"
        if key_section(skill.read_text(encoding="utf-8")):
            raise ValueError("SKILL.md holds an API key under '## API_KEY': empty that section before packing")
        if self.target_name == "wheel":
            build_data["force_include"][str(skill)] = "tikhub_mcp/SKILL.md"
