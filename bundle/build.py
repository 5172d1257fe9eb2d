"""Build dist/tikhub-mcp-VERSION.mcpb, the bundle that Claude Desktop installs.

    python3 bundle/build.py

Needs Python 3.11 or newer without any package, and Node: `mcpb` from PATH, or else npx, which downloads it.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "SKILL.md")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
PINNED = ROOT / "tests" / "hosts" / "package.json"


def gather(folder: Path, root: Path = ROOT) -> str:
    """Copy the bundle's files into a new folder, and check that they hold no API key.

    Args:
        folder: The folder to create.
        root: The checkout.

    Returns:
        The version of the package.

    Raises:
        ValueError: A SKILL.md holds a key, or has no section for one. The message does not repeat the key.
    """
    sys.path.insert(0, str(ROOT))  # a script's sys.path begins with its own folder
    try:
        from tikhub_mcp.settings.skill_text import key_section
    finally:
        sys.path.remove(str(ROOT))
    for skill in (root / "SKILL.md", *(root / "tikhub_mcp").rglob("SKILL.md")):
        if key_section(skill.read_text(encoding="utf-8")):
            raise ValueError("SKILL.md holds an API key under '## API_KEY' or a comment: empty both before packing")
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(root / name, folder)
    shutil.copytree(root / "tikhub_mcp", folder / "tikhub_mcp", ignore=LEFT_OUT)
    init = (folder / "tikhub_mcp" / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', init, re.MULTILINE)[0]
    manifest = json.loads((root / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    text = json.dumps({**manifest, "version": version}, ensure_ascii=False, indent=2)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return str(version)


def packer(given: str) -> list[str]:
    """The command of mcpb: `given` if not empty, else the one on PATH, else npx with the version of the tests."""
    found = given or shutil.which("mcpb")
    if found:
        return [found]
    if not (npx := shutil.which("npx")):
        sys.exit("npx, which fetches the packer, is missing: it comes with Node (https://nodejs.org/).")
    version = json.loads(PINNED.read_text(encoding="utf-8"))["dependencies"]["@anthropic-ai/mcpb"]
    return [npx, "--yes", f"@anthropic-ai/mcpb@{version}"]


def main(arguments: list[str] | None = None) -> None:
    """Gather the files, validate the manifest, and pack the bundle."""
    parser = argparse.ArgumentParser(description="Make the bundle for Claude Desktop.")
    parser.add_argument("--mcpb", default="", help="the command of @anthropic-ai/mcpb")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the bundle goes (default: dist/)")
    options = parser.parse_args(arguments)
    mcpb = packer(options.mcpb)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bundle"
        try:
            version = gather(folder)
        except ValueError as error:
            sys.exit(str(error))
        options.out.mkdir(parents=True, exist_ok=True)
        target = options.out.resolve() / f"tikhub-mcp-{version}.mcpb"
        subprocess.run([*mcpb, "validate", str(folder / "manifest.json")], check=True)  # noqa: S603 - the caller's own
        subprocess.run([*mcpb, "pack", str(folder), str(target)], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
