"""Findings of the checks, as lines that can be pasted into a bug report.

They never contain the API key, a proxy's password, or the name of the home directory.
"""

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from rich.cells import set_cell_size

from tikhub_mcp.messages import translate
from tikhub_mcp.posts.answer import redact_text
from tikhub_mcp.settings.api_key import key_places
from tikhub_mcp.text import clean

State = Literal["ok", "warning", "problem"]

HEADING_COLUMNS = 22


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    Attributes:
        check: The name of the check, one of section `doctor_check` in `messages.json`.
        state: "problem" if something does not work, "warning" if it may not, else "ok".
        found: What the check found, in the user's language.
        advice: What the user should do; empty if nothing.
    """

    check: str
    state: State
    found: str
    advice: str = ""

    @property
    def heading(self) -> str:
        """The state and the check, in the user's language, as HEADING_COLUMNS columns before what was found."""
        state, name = translate(f"doctor_state.{self.state}"), translate(f"doctor_check.{self.check}")
        return f"{set_cell_size(state, 8)} {set_cell_size(name, 12)} "


def finding(check: str, state: State, message: str, /, **values: object) -> Finding:
    """Return a finding whose text is a message, with the advice that belongs to it unless the state is "ok".

    Args:
        check: The name of the check.
        state: The state.
        message: The name of the text in section `doctor` of `messages.json`; the advice is named `{message}_advice`.
        values: The values of the placeholders in both.
    """
    advice = "" if state == "ok" else translate(f"doctor.{message}_advice", **values)
    return Finding(check, state, translate(f"doctor.{message}", **values), advice)


def summing_up(findings: list[Finding]) -> str:
    """The last line of the report: the numbers of problems and warnings."""
    problems, warnings = (sum(each.state == state for each in findings) for state in ("problem", "warning"))
    return translate("doctor.summary", problems=problems, warnings=warnings)


def as_json(findings: list[Finding]) -> str:
    """The findings as a JSON array."""
    return json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2)


def redact_finding(finding: Finding) -> Finding:
    """The finding without API keys and home directories, on one line each, at most 1,000 characters."""
    return replace(finding, found=_public(finding.found), advice=_public(finding.advice))


def _public(text: str) -> str:
    """Redact API keys and home directories, which a path or an error message may contain.

    Values of settings are redacted earlier, in `settings/shown.py`.
    """
    for _, key in key_places():
        text = redact_text(text, key.get_secret_value())
    with suppress(OSError, RuntimeError):  # there may be no home directory
        for home in {Path.home(), Path.home().resolve()} - {Path(Path.home().anchor)}:
            text = re.sub(re.escape(str(home)) + r"(?![\w.-])", "~", text)
    return clean(text, 1000)
