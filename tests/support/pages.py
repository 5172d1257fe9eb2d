"""Report pages, and texts that would run in a careless one."""

from pathlib import Path

from tests.support.summary_inputs import answer, save_all
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary.summarize import summarize

TITLE = "TikTok and Douyin posts"
EVIL = [
    '</script><script>document.title="owned"</script>',
    "<img src=x onerror=\"document.title='owned'\">",
    "<!--<script>",
    "@DATA@@LIBRARY@",
    "${document.title='owned'}",
    "'\"><svg onload=document.title='owned'>",
    "{{constructor.constructor('document.title=1')()}}",
    "a\u2028b\u2029c",
]
EVIL_LINKS = [
    "javascript:document.title='owned'",
    "JaVaScRiPt:document.title='owned'",
    " javascript:document.title='owned'",
    "java\nscript:document.title='owned'",
    "data:text/html,<script>document.title='owned'</script>",
    "vbscript:owned",
    "file:///etc/passwd",
    "//evil.example/",
    "no link",
]

POISONED = [
    answer(str(at), desc=text, author={"nickname": text, "unique_id": text}, link="https://a.example/" + text)
    for at, text in enumerate(EVIL)
]
POISONED += [answer(f"9{at}", link=link) for at, link in enumerate(EVIL_LINKS)]
POISONED += [answer(text, author={}, link=None) for text in EVIL]


def written(tmp_path: Path, answers: list[Json], folder: str = "raw") -> Path:
    """The page of these answers."""
    done = summarize(save_all(tmp_path / folder, answers), tmp_path / "out", ["html"])
    return done.paths["html"]
