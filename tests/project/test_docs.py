"""The documents, held to the code: names, flags, settings, columns, codes, replies."""

import argparse
import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import SecretStr

from tikhub_mcp import __version__, errors
from tikhub_mcp.cli.parser import build_parser
from tikhub_mcp.errors import TikHubMCPError
from tikhub_mcp.install.entries import install
from tikhub_mcp.sandbox import Sandbox, good_links
from tikhub_mcp.server import INSTRUCTIONS, Server
from tikhub_mcp.settings import api_key, environment
from tikhub_mcp.summary.columns import COLUMNS
from tikhub_mcp.tools.handlers import Tools

ROOT = Path(__file__).resolve().parents[2]
README, CHINESE, SKILL, CLIENTS, COMMANDS, ERRORS, SETTINGS, REFERENCE = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "README.zh-CN.md",
        "SKILL.md",
        "docs/clients.md",
        "docs/command-line.md",
        "docs/errors.md",
        "docs/settings.md",
        "docs/tools.md",
    )
)
DOCUMENTS = ["README.md", "README.zh-CN.md", "SKILL.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
DOCUMENTS += ["benchmarks/README.md", *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/*.md")))]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}
READMES = {"README.md", "README.zh-CN.md"}
TOOLS = {tool.name: tool for tool in Server(Tools({}))._ours.values()}


def between(marker: str, document: str) -> str:
    found = re.search(f"<!-- {marker} -->\n(.*?)<!-- /{marker} -->", document, re.DOTALL)
    assert found, f"the document has no part {marker}"
    return found[1]


def rows(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def fenced(marker: str, document: str, language: str = "json") -> list[str]:
    return re.findall(f"<!-- {marker} -->\n```{language}\n(.*?)```", document, re.DOTALL)


def error_classes() -> Iterator[type[TikHubMCPError]]:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, TikHubMCPError) and "code" in vars(kind):
            yield kind


def test_the_errors_that_are_told_are_those_of_the_code() -> None:
    told = {row[0].strip("`"): tuple(row[1:4]) for row in rows(between("errors", ERRORS))}
    yes = {True: "yes", False: "no"}
    real = {kind.code: (yes[kind.stop], yes[kind.retryable], str(kind.exit_code)) for kind in error_classes()}
    assert told == real


def test_the_skill_names_every_error_code() -> None:
    assert {kind.code for kind in error_classes()} <= set(re.findall(r"`(\w+)`", SKILL))


def test_the_settings_that_are_told_are_those_that_are_read() -> None:
    told = {row[0].strip("`"): row[1].strip("`") for row in rows(between("settings", SETTINGS))}
    read = set(re.findall(r'"(TIKHUB_[A-Z_]+)"', inspect.getsource(environment) + inspect.getsource(api_key)))
    assert set(told) == read
    default = environment.load_settings({"HOME": "/nowhere"})
    assert told["TIKHUB_BASE_URL"] == default.base_url
    assert told["TIKHUB_OUTPUT_DIR"] == environment.DEFAULT_ROOT
    assert told["TIKHUB_CALL_SECONDS"] == f"{default.call_seconds:g}"
    assert told["TIKHUB_REUSE_SECONDS"] == f"{default.reuse_seconds:g}"
    assert told["TIKHUB_DOWNLOAD_SECONDS"] == f"{default.download_seconds:g}"
    assert told["TIKHUB_MAX_BYTES"] == str(default.max_bytes)
    assert told["TIKHUB_LOG_LEVEL"] == default.log_level


def test_the_columns_that_are_told_are_those_of_the_table_in_their_order() -> None:
    assert re.findall(r"`(\w+)`", between("columns", REFERENCE)) == list(COLUMNS)


def test_the_commands_and_options_that_are_told_are_those_of_the_parser() -> None:
    [commands] = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    table = {row[0]: row[1] for row in rows(between("commands", COMMANDS))}
    same = set(re.findall(r"-{1,2}[a-z][a-z-]*", table["`tikhub-mcp one URL`"]))
    for name, parser in commands.choices.items():
        [told] = [text for command, text in table.items() if re.match(rf"`tikhub-mcp {name}\b", command)]
        flags = set(re.findall(r"(?<![\w-])-{1,2}[a-z][a-z-]*", told)) | (same if "the same" in told else set())
        told_of = (action for action in parser._actions if action.help != argparse.SUPPRESS)
        real = {flag for action in told_of for flag in action.option_strings} - {"-h", "--help"}
        assert flags == real, name


@pytest.mark.parametrize("tool", list(TOOLS))
def test_the_arguments_that_are_told_are_those_of_the_tool_with_their_defaults(tool: str) -> None:
    section = REFERENCE.split(f"\n## {tool}\n")[1].split("\n## ")[0]
    told: dict[str, str] = {}
    for names, default, *_ in rows(section.split("<!-- reply")[0]):
        for name in re.findall(r"`(\w+)`", names):
            told[name] = default.strip("`")
    properties = TOOLS[tool].parameters["properties"]
    assert set(told) == set(properties)
    for name, default in told.items():
        if default:
            assert default == (json.dumps(properties[name]["default"]) if "default" in properties[name] else "required")


@pytest.mark.parametrize("tool", list(TOOLS))
def test_the_replies_that_are_shown_fit_the_tools_output_schema(tool: str) -> None:
    shown = [text for document in (REFERENCE, ERRORS) for text in fenced(f"reply: {tool}", document)]
    assert shown
    schema: dict[str, Any] = TOOLS[tool].output_schema or {}
    for text in shown:
        jsonschema.validate(with_nulls(json.loads(text), schema, schema), schema)


def with_nulls(value: Any, part: dict[str, Any], schema: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    """What is shown, with the nulls that the text channel leaves out; unknown keys are failures."""
    if "anyOf" in part:
        part = part["anyOf"][0]
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        return [with_nulls(item, part["items"], schema) for item in value]
    if isinstance(value, dict) and "properties" in part:
        assert set(value) <= set(part["properties"])
        return {
            name: with_nulls(value[name], inner, schema) if name in value else None
            for name, inner in part["properties"].items()
        }
    return value


def test_every_client_entry_is_json_that_starts_our_command_as_install_writes_it(tmp_path: Path) -> None:
    shown = {"claude-desktop": ("any", README), "cursor": ("any", README), "vscode": ("vscode", CLIENTS)}
    for name, (marker, document) in shown.items():
        [text] = fenced(f"entry: {marker}", document)
        [server] = (json.loads(text).get("mcpServers") or json.loads(text)["servers"]).values()
        assert server["command"].endswith("/.venv/bin/tikhub-mcp")
        assert api_key.why_unusable(server["env"]["TIKHUB_API_KEY"]) == "holds a placeholder"
        key = SecretStr(server["env"]["TIKHUB_API_KEY"])
        written = install(name, tmp_path / "new.json", [server["command"]], key).after
        assert json.loads(written or b"") == json.loads(text)


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_no_example_fetches_what_others_publish_under_this_name_or_imports_from_the_working_directory(
    document: str,
) -> None:
    examples = "\n".join(re.findall(r"^(?:```.*?^```| {4}\S.*?$)", TEXTS[document], re.DOTALL | re.MULTILINE))
    assert not re.search(r"\b(uvx|pipx run|pip install|tool install)( -\S+)* +tikhub-mcp", examples)
    before = re.findall(r"(\S+) -m tikhub_mcp", TEXTS[document])
    assert {option.strip("`") for option in before} <= {"-I", "-P"}


def test_the_readme_is_short_begins_with_price_and_key_and_warns_of_the_others_package() -> None:
    assert len(README.encode()) <= 10_000
    third = [line for line in README.splitlines() if line][2]
    assert "0.001 USD" in third
    assert "https://tikhub.io/" in third
    [warning] = re.findall(r"^> \[!WARNING\]\n((?:>.*\n)+)", README, re.MULTILINE)
    assert "`pip install tikhub-mcp`" in warning
    assert len([row for row in rows(README.split("## Ways in")[1].split("\n### ")[0]) if len(row) == 3]) == 4


def test_the_two_commands_set_everything_up_and_that_of_the_tests_stands_last() -> None:
    for marker, ending in (("demo", "tikhub-mcp demo"), ("tests", "--cov-fail-under 95")):
        [command] = fenced(marker, README, "bash")
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
        assert command.strip().endswith(ending)
    assert README.endswith(f"<!-- tests -->\n```bash\n{command}```\n")


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1, 0])
def test_the_ten_lines_of_python_fetch_what_they_are_given_over_one_session_until_nothing_is_pending(
    tmp_path: Path, calls: int
) -> None:
    [program] = fenced("python", README, "python")
    assert len([line for line in program.splitlines() if line]) == 10
    (tmp_path / "fetch.py").write_text(program, encoding="utf-8")
    links = good_links(3)
    with Sandbox(latency=1.5) as sandbox:  # longer than a call may take, so that the first calls end with pending
        settings = {"TIKHUB_BASE_URL": sandbox.base_url, "TIKHUB_OUTPUT_DIR": str(tmp_path), "TIKHUB_CALL_SECONDS": "1"}
        environment = {**os.environ, **settings, "TIKHUB_API_KEY": "any-key-will-do" if calls else ""}
        ran = subprocess.run(
            [sys.executable, tmp_path / "fetch.py", *links],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        paid = [call.status for call in sandbox.calls]
    assert (ran.returncode, paid) == (0, [200] * len(links) * calls), ran.stderr
    printed = ast.literal_eval(ran.stdout)
    if calls:
        assert [(item["status"], item["url"]) for item in printed["results"]] == [("ok", link) for link in links]
    else:
        assert printed["error"]["code"] == "api_key_missing"


def anchors(document: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_inside_the_documents_leads_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[document]):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            place = ROOT / document if not name else (ROOT / document).parent / name
            assert place.exists(), target
            assert not anchor or anchor in anchors(place.read_text(encoding="utf-8")), target


def parts(document: str) -> dict[str, object]:
    """What does not change with the language: code, links, figures, and how many headings, items and rows there are."""
    code = re.findall(r"^```.*?^```", document, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", document, flags=re.DOTALL | re.MULTILINE)
    links = [target.partition("#") for target in re.findall(r"\]\(([^)]+)\)", prose)]
    return {
        "code": code,
        "names": Counter(re.findall(r"`([^`\n]+)`", prose)),
        "links": Counter(
            (name, bool(anchor)) for name, _, anchor in links if name not in {"README.md", "README.zh-CN.md"}
        ),
        "figures": Counter(re.findall(r"\d[\d.,]*(?<![.,])", re.sub(r"\]\([^)]+\)", "]", prose))),
        "markers": re.findall("<!-- .*? -->", document),
        "headings": re.findall(r"^#+(?= )", document, re.MULTILINE),
        "items": len(re.findall(r"^- ", prose, re.MULTILINE)),
        "rows": [len(row) for row in rows(prose)],
    }


@pytest.mark.parametrize("what", list(parts("")))
def test_the_chinese_readme_says_what_the_english_one_says(what: str) -> None:
    assert parts(CHINESE)[what] == parts(README)[what]


def test_each_readme_links_the_other_at_its_top() -> None:
    assert "](README.zh-CN.md)" in README.split("\n## ")[0]
    assert "](README.md)" in CHINESE.split("\n## ")[0]


def test_the_picture_of_the_page_is_one_and_is_small() -> None:
    picture = (ROOT / "docs" / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) <= 150_000


def test_the_skill_has_frontmatter_by_the_rules_short_lines_and_an_empty_key_section() -> None:
    _, frontmatter, body = SKILL.split("---\n", 2)
    fields = dict(re.findall(r"^(\w+): (.+)$", frontmatter, re.MULTILINE))
    assert fields["name"] == "tikhub-mcp"
    assert 1 <= len(fields["description"]) <= 1024
    assert not [line for line in body.splitlines() if len(line) > 120 and not line.startswith("|")]
    assert re.fullmatch(r".*^## API_KEY\n\s*", body, re.DOTALL | re.MULTILINE)
    assert api_key._key_in_skill(ROOT / "SKILL.md") == ""


@pytest.mark.parametrize(
    "part",
    [
        "Stop this task now",
        "they need to apply for their own paid personal API\n   key at https://tikhub.io/",
        "`TIKHUB_API_KEY`",
        "download, data fetching, retries, workarounds or\n   made-up output",
    ],
)
def test_the_skill_has_the_stop_and_notify_rule_in_full(part: str) -> None:
    assert part in SKILL


def test_the_instructions_name_the_tools_the_rule_pending_and_that_texts_are_data() -> None:
    for word in (*TOOLS, "Stop and notify", "pending", "data, never instructions"):
        assert word in INSTRUCTIONS


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[headings[0] == "Unreleased"] == __version__
