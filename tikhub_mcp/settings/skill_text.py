"""Parts of a SKILL.md: its front matter, and what is published of it, without the section for the API key.

`hatch_build.py` and `bundle/build.py` load it before anything is installed: it imports the standard library alone.
"""

import re

KEY_HEADING = "## API_KEY"
# However people write the heading: a key under one that no key is read from must not be published either.
_LIKE_KEY_HEADING = re.compile(r"\s*#[\W_]*API[\W_]?KEY\b.*|[\W_]*API[\W_]?KEY[\W_]*", re.IGNORECASE)
_FENCE = ("```", "~~~")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


def split_skill(text: str) -> tuple[str, str]:
    """Return a SKILL.md without its sections `## API_KEY`, and these sections with their headings.

    A section ends at the next heading of the second level, which a line of a code block is not. Comments are in neither
    part: one in the section may hold a heading, after which the key would stand in what is published.

    Args:
        text: The whole file.
    """
    published: list[str] = []
    private: list[str] = []
    lines = "\n".join(text.removeprefix("\ufeff").splitlines())
    inside = in_code = False
    for line in _COMMENT.sub("", lines).split("\n"):
        in_code ^= line.lstrip().startswith(_FENCE)
        if _LIKE_KEY_HEADING.fullmatch(line):
            inside = True
        elif line.startswith("## ") and not in_code:
            inside = False
        (private if inside else published).append(line)
    return "\n".join(published).strip() + "\n", "\n".join(private)


def key_section(text: str) -> str:
    """Return what may be a key in a SKILL.md, in a section `## API_KEY` or a comment; "" in one that may be published.

    Args:
        text: The whole file.

    Raises:
        ValueError: There is no such section.
    """
    private = [line.strip() for line in split_skill(text)[1].splitlines()]
    if KEY_HEADING not in private:
        raise ValueError(f"SKILL.md has no section '{KEY_HEADING}'")
    found = [line for line in private if not line.startswith("## ")]
    return "\n".join([*found, text.partition("<!--")[2]]).strip()


def front_matter(text: str) -> dict[str, str]:
    """Return the fields between the lines `---`: one a line, as plain text; none without these lines.

    Args:
        text: The whole file, or what `split_skill` publishes of it.
    """
    found = re.match(r"---\n(.*?\n)---\n", text, re.DOTALL)
    return dict(re.findall(r"^([\w-]+): (.+)$", found[1], re.MULTILINE)) if found else {}
