"""The table of messages: each in both languages, and each place in the code that asks for one."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import tikhub_mcp
from tikhub_mcp import errors, messages
from tikhub_mcp.messages import _TABLE, _read, for_person, translate
from tikhub_mcp.posts import answer
from tikhub_mcp.settings import api_key
from tikhub_mcp.summary import page as summary_page
from tikhub_mcp.tools.replies import describe

IN_CHINESE = {"LANG": "zh_CN.UTF-8"}
MESSAGES = {f"{section}.{name}": texts for section, table in _TABLE.items() for name, texts in table.items()}
CJK = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")


def placeholders(*texts: str) -> set[tuple[str, str | None, str | None]]:
    """Name, format and conversion of each placeholder."""
    parts = [part for text in texts for part in Formatter().parse(text)]
    return {(name, form, conversion) for _, name, form, conversion in parts if name is not None}


def named(node: ast.expr, section: str = "") -> list[str]:
    """The messages that an argument can name: a string, or an f-string with any value in its gaps."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    pattern = "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[^.]+" for part in parts)
    found = [name for name in MESSAGES if re.fullmatch(section + pattern, name)]
    assert found, ast.unparse(node)
    return found


def uses() -> Iterator[tuple[list[str], set[str]]]:
    """What each place in the code asks for: messages that share values, and the names of these values."""
    for path in Path(tikhub_mcp.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.name != "messages.py" else ():
            if not isinstance(node, ast.Call) or any(keyword.arg is None for keyword in node.keywords):
                continue  # the function `finding` hands on what it is given
            function, given = ast.unparse(node.func), {str(keyword.arg) for keyword in node.keywords}
            if function in ("translate", "counted"):
                given |= {"count"} if function == "counted" else set()
                yield from (([name], given) for name in named(node.args[0]))
            elif function == "translations":
                section = f"{ast.literal_eval(node.args[0])}."
                yield from (([name], given) for name in MESSAGES if name.startswith(section))
            elif function == "finding":
                with_advice = ast.unparse(node.args[1]) != "'ok'"
                for name in named(node.args[2], "doctor."):
                    if not name.endswith("_advice"):
                        yield [name, f"{name}_advice"] if with_advice else [name], given


def test_a_message_is_there_in_both_languages_with_the_same_placeholders() -> None:
    for name, (english, chinese) in MESSAGES.items():
        assert english.strip(), name
        assert not CJK.search(english), name
        assert CJK.search(re.sub("{.*?}", "", chinese)), name
        assert placeholders(english) == placeholders(chinese), name


@pytest.mark.slow
def test_the_code_asks_for_every_message_and_no_other_with_the_values_that_it_needs() -> None:
    asked = set()
    for names, given in uses():
        assert given == {name for name, *_ in placeholders(*(MESSAGES[name][0] for name in names))}, names
        asked |= set(names)
    assert asked == set(MESSAGES)


def test_each_reason_against_a_key_is_a_message() -> None:
    source = ast.parse(inspect.getsource(api_key.why_unusable))
    reasons = {ast.literal_eval(node.value) for node in ast.walk(source) if isinstance(node, ast.Return) and node.value}
    assert reasons - {""} == set(_TABLE["unusable_key"])


def test_the_page_uses_each_of_its_messages_and_has_each_reason_why_a_post_is_missing() -> None:
    template = summary_page.TEMPLATE.read_text(encoding="utf-8")
    unused = {name for name in _TABLE["page"] if not re.search(rf"@{name}@|\b{name.removesuffix('_one')}\b", template)}
    assert unused - {"most_plays", "most_likes", "most_rate"} == set()
    asked = set(re.findall(r"@([a-z_]+)@", template)) | set(re.findall(r"(?:say|several)\(\"(\w+)\"", template))
    assert asked <= _TABLE["page"].keys()
    reasons = {*answer._REASONS.values(), answer._UNKNOWN_REASON, answer._NEW_REASON.partition(":")[0]}
    of_posts = {name.removeprefix("The post ") for name in _TABLE["missing_post"] if name.startswith("The post ")}
    assert of_posts == reasons


def test_on_windows_the_language_is_that_of_the_user_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(messages, "_windows_language", lambda: "zh")
    assert messages.said("a", "一") == "一"
    assert messages.said("a", "一", {}) == "a"
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    assert messages.said("a", "一") == "a"


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(getattr(kind, "tell_human", None), str)]
)
def test_what_a_human_must_do_is_told_in_the_language_of_the_locale(
    monkeypatch: pytest.MonkeyPatch, kind: type[errors.TikHubMCPError]
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    told = describe(kind("a message")).tell_human
    assert told is not None
    assert CJK.search(told)
    assert not re.search("[a-z]+ [a-z]+ [a-z]+", told)


@pytest.mark.parametrize(("locale", "expected"), [("zh_CN.UTF-8", "a 不可达（b）"), ("C", "a is not reached (b)")])
def test_a_message_is_in_the_language_of_the_locale(locale: str, expected: str) -> None:
    assert translate("doctor.failed_connection", {"LANG": locale}, host="a", reason="b") == expected


def test_a_name_that_is_a_word_of_the_table_stays_a_name() -> None:
    assert for_person("music is neither a link nor a file.", IN_CHINESE) == "music 既不是链接也不是文件。"
    assert for_person("There is no link in standard input.", IN_CHINESE) == "标准输入 中没有链接。"


NOT_ON_A_TERMINAL = {"server.py", "handlers.py", "paths.py", "api_key.py"}  # but in replies; of the last one tell_human


def raised() -> Iterator[str]:
    """The message of each error that the code raises, as far as it is written there, with words in its gaps."""
    for path in Path(tikhub_mcp.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.name not in NOT_ON_A_TERMINAL else ():
            if isinstance(node, ast.Call) and hasattr(errors, ast.unparse(node.func)) and node.args:
                message = node.args[0]
                parts = message.values if isinstance(message, ast.JoinedStr) else [message]
                gaps = {part: "post 7" if "named(" in ast.unparse(part) else "X1" for part in parts}
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else gaps[part] for part in parts)
                if re.search("[a-z]", text):
                    yield re.sub(r"(^|(?<=\. ))X1(?= [A-Z])", "X1.", text).replace(".X1", ".")


@pytest.mark.slow
@pytest.mark.parametrize("message", sorted(set(raised())))
def test_a_person_reads_every_error_in_chinese(message: str) -> None:
    shown = for_person(message, IN_CHINESE)
    assert CJK.search(shown), shown
    assert not re.search(r"[a-z]+ [a-z]+ [a-z]+", re.sub("`.*?`|https?:\\S+", "", shown)), shown


def test_every_sentence_has_the_same_placeholders_in_both_languages_and_matches_itself() -> None:
    table = _read("sentences.json")
    for form, texts in table.items():
        english, chinese = [form, texts] if isinstance(texts, str) else texts
        dropped = {"where"} if form.startswith("Lines of {where}") else set()  # a person has given one list only
        named = {name for name, *_ in placeholders(form)} - dropped
        assert {name for name, *_ in placeholders(english)} == {name for name, *_ in placeholders(chinese)} == named
        sample = form.format_map({name: f"X{number}" for number, (name, *_) in enumerate(placeholders(form))})
        assert for_person(sample, IN_CHINESE) != sample
        assert for_person(sample) == english.format_map(
            {name: f"X{number}" for number, (name, *_) in enumerate(placeholders(form))}
        )
