"""The text of a SKILL.md without the section for the API key.

`hatch_build.py` loads this file alone, before anything is installed: it imports nothing but the standard library.
"""

import re

KEY_HEADING = "## API_KEY"
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


def split_skill(text: str) -> tuple[str, str]:
    """Return a SKILL.md without its sections `## API_KEY`, and these sections with their headings.

    A section ends at the next heading of the second level. Comments are in neither part: one in the section may hold a
    heading, after which the key would stand in what is published.

    Args:
        text: The whole file.
    """
    published: list[str] = []
    private: list[str] = []
    lines = "\n".join(text.removeprefix("\ufeff").splitlines())
    inside = False
    for line in _COMMENT.sub("", lines).split("\n"):
        if line.startswith("## "):
            inside = line.strip() == KEY_HEADING
        (private if inside else published).append(line)
    return "\n".join(published).strip() + "\n", "\n".join(private)
