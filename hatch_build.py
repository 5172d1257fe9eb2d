"""Build hook: adds SKILL.md to the wheel, and refuses to pack one that holds an API key."""

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def key_section(text: str) -> str:
    """The content of all `## API_KEY` sections, without comments and surrounding white space.

    It is empty in a SKILL.md that may be published.

    Raises:
        ValueError: There is no such section.
    """
    lines = "\n".join(text.removeprefix("\ufeff").splitlines())  # the line ends that the server recognizes
    sections: list[str] = re.findall(r"^## API_KEY[^\S\n]*$(.*?)(?=^## |\Z)", lines, re.MULTILINE | re.DOTALL)
    if not sections:
        raise ValueError("SKILL.md has no section '## API_KEY'")
    return re.sub(r"<!--.*?-->", "", "".join(sections), flags=re.DOTALL).strip()


class SkillHook(BuildHookInterface):
    """The hook for hatchling.

    An editable install is exempt: it reads the SKILL.md of the checkout, which may hold a key.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Check SKILL.md, and add it to the wheel.

        Raises:
            ValueError: It holds a key, or has no section for one.
        """
        if version == "editable":
            return
        skill = Path(self.root) / "SKILL.md"
        if key_section(skill.read_text(encoding="utf-8")):
            raise ValueError("SKILL.md holds an API key under '## API_KEY': empty that section before packing")
        if self.target_name == "wheel":
            build_data["force_include"][str(skill)] = "tikhub_mcp/SKILL.md"
