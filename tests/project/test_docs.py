"""README.md, SKILL.md and CHANGELOG.md, held to the code: names, flags, settings, columns, codes, replies."""

import argparse
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tikhub_mcp import __version__, errors
from tikhub_mcp.cli.parser import build_parser
from tikhub_mcp.errors import TikHubMCPError
from tikhub_mcp.server import INSTRUCTIONS, Server
from tikhub_mcp.settings import api_key, environment
from tikhub_mcp.summary.columns import COLUMNS
from tikhub_mcp.tools.handlers import Tools

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SKILL = (ROOT / "SKILL.md").read_text(encoding="utf-8")
TOOLS = {tool.name: tool for tool in Server(Tools({}))._ours.values()}


def between(start: str, end: str) -> str:
    found = re.search(f"<!-- {start} -->\n(.*?)<!-- {end} -->", README, re.DOTALL)
    assert found, f"README.md has no part between {start} and {end}"
    return found[1]


def rows(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def fenced(marker: str, language: str = "json") -> list[str]:
    return re.findall(f"<!-- {marker} -->\n```{language}\n(.*?)```", README, re.DOTALL)


def error_classes() -> Iterator[type[TikHubMCPError]]:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, TikHubMCPError) and "code" in vars(kind):
            yield kind


def test_the_errors_of_the_readme_are_those_of_the_code() -> None:
    told = {row[0].strip("`"): tuple(row[1:4]) for row in rows(between("errors", "/errors"))}
    yes = {True: "yes", False: "no"}
    real = {kind.code: (yes[kind.stop], yes[kind.retryable], str(kind.exit_code)) for kind in error_classes()}
    assert told == real


def test_the_skill_names_every_error_code() -> None:
    assert {kind.code for kind in error_classes()} <= set(re.findall(r"`(\w+)`", SKILL))


def test_the_settings_of_the_readme_are_those_that_are_read() -> None:
    told = {row[0].strip("`"): row[1].strip("`") for row in rows(between("settings", "/settings"))}
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


def test_the_columns_of_the_readme_are_those_of_the_table_in_their_order() -> None:
    assert re.findall(r"`(\w+)`", between("columns", "/columns")) == list(COLUMNS)


def test_the_commands_and_options_of_the_readme_are_those_of_the_parser() -> None:
    [commands] = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    table = {row[0]: row[1] for row in rows(between("commands", "/commands"))}
    same = set(re.findall(r"-{1,2}[a-z][a-z-]*", table["`tikhub-mcp one URL`"]))
    for name, parser in commands.choices.items():
        [told] = [text for command, text in table.items() if re.match(rf"`tikhub-mcp {name}\b", command)]
        flags = set(re.findall(r"(?<![\w-])-{1,2}[a-z][a-z-]*", told)) | (same if "the same" in told else set())
        told_of = (action for action in parser._actions if action.help != argparse.SUPPRESS)
        real = {flag for action in told_of for flag in action.option_strings} - {"-h", "--help"}
        assert flags == real, name


@pytest.mark.parametrize("tool", list(TOOLS))
def test_the_arguments_of_the_readme_are_those_of_the_tool_with_their_defaults(tool: str) -> None:
    section = README.split(f"### {tool}\n")[1].split("\n### ")[0].split("\n## ")[0]
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
def test_the_replies_of_the_readme_fit_the_tools_output_schema(tool: str) -> None:
    shown = fenced(f"reply: {tool}")
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


def test_every_client_entry_is_json_that_starts_our_command_and_fetches_nothing() -> None:
    entries = {name: json.loads(fenced(f"entry: {name}")[0]) for name in ("claude-desktop", "cursor", "vscode")}
    for entry in entries.values():
        [server] = (entry.get("mcpServers") or entry["servers"]).values()
        assert server["command"].endswith("/.venv/bin/tikhub-mcp")
        assert set(server["env"]) == {"TIKHUB_API_KEY"}
        assert api_key.why_unusable(server["env"]["TIKHUB_API_KEY"]) == "holds a placeholder"
    assert not re.search(r"\b(uvx|pipx run|pip install) +tikhub-mcp", README)


@pytest.mark.parametrize("document", ["README.md", "SKILL.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_no_example_starts_the_module_in_a_way_that_imports_from_the_working_directory(document: str) -> None:
    before = re.findall(r"(\S+) -m tikhub_mcp", (ROOT / document).read_text(encoding="utf-8"))
    assert {option.strip("`") for option in before} <= {"-I", "-P"}


def test_the_two_commands_stand_at_the_top_and_set_everything_up() -> None:
    for marker, ending in (("demo", "tikhub-mcp demo"), ("tests", "--cov-fail-under 95")):
        [command] = fenced(marker, "bash")
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
        assert command.strip().endswith(ending)
    assert README.index("<!-- tests -->") < README.index("## ")


def test_every_link_inside_the_documents_leads_somewhere() -> None:
    for document in ("README.md", "SKILL.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        headings = {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in text.splitlines()}
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if target.startswith("#"):
                assert target[1:] in headings, target
            elif "://" not in target:
                assert (ROOT / target).exists(), target


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
