"""Build hook: adds SKILL.md to the wheel, without its section for an API key where that holds one."""

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SKILL_TEXT = Path(__file__).parent / "tikhub_mcp" / "settings" / "skill_text.py"


class SkillHook(BuildHookInterface):
    """The hook for hatchling.

    An editable install is exempt: it reads the SKILL.md of the checkout, which may hold a key.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add SKILL.md to the wheel; comments and the section for the key are left out if there is anything in them.

        Raises:
            ValueError: The file has no such section; or a source distribution, which packs the file as it is, would
                publish a key.
        """
        if version == "editable":
            return
        skill = Path(self.root) / "SKILL.md"
        text = skill.read_text(encoding="utf-8")
        skill_text = _skill_text()
        has_key = bool(skill_text.key_section(text))
        if self.target_name != "wheel":
            if has_key:
                raise ValueError("SKILL.md holds an API key under '## API_KEY' or a comment: empty both before packing")
            return
        if has_key:
            self._folder = tempfile.TemporaryDirectory()
            skill = Path(self._folder.name) / "SKILL.md"
            skill.write_text(skill_text.split_skill(text)[0], encoding="utf-8")
        build_data["force_include"][str(skill)] = "tikhub_mcp/SKILL.md"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the copy of SKILL.md."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _skill_text() -> ModuleType:
    """The module of the package, which is not installed when it is built."""
    spec = importlib.util.spec_from_file_location("skill_text", SKILL_TEXT)
    if spec is None or spec.loader is None:
        raise ValueError(f"{SKILL_TEXT} is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
