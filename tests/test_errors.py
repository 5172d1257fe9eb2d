"""The tree of failures, held to the table of the contract and to its own drawing."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from tikhub_mcp import errors
from tikhub_mcp.errors import TikHubMCPError, TikHubUnavailable

CONTRACT = """
api_key_missing        stop        3   KeyMissing
api_key_invalid        stop        3   KeyInvalid
insufficient_balance   stop        3   InsufficientBalance
permission_denied      stop        3   PermissionDenied
rate_limited           retryable   1   RateLimited
tikhub_unavailable     retryable   1   TikHubUnavailable
media_unavailable      retryable   1   MediaUnavailable
media_invalid          retryable   1   MediaInvalid
post_unavailable       -           4   PostUnavailable
not_a_video            -           4   NotAVideo
wrong_post             -           4   WrongPost
unexpected_answer      -           4   UnexpectedAnswer
invalid_input          -           2   InvalidInput
unsupported_link       -           2   UnsupportedLink
path_not_allowed       -           2   PathNotAllowed
too_large              -           1   TooLarge
disk_full              -           1   DiskFull
not_writable           -           1   NotWritable
api_call_limit         -           1   ApiCallLimit
internal_error         -           1   TikHubMCPError
"""
ROWS = [line.split() for line in CONTRACT.strip().splitlines()]


def classes() -> dict[str, type[TikHubMCPError]]:
    """Every failure, by its name."""
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, TikHubMCPError)
    }


def families() -> set[type[object]]:
    """The kinds of failures that have kinds of their own."""
    return {base for kind in classes().values() for base in kind.__bases__}


def drawn() -> dict[str, str]:
    """Every failure in the drawing, with the one that it hangs on."""
    parents = ["TikHubMCPError"]
    found = {"TikHubMCPError": "Exception"}
    for bars, names in re.findall(r"^    ([│ ]*[├└]── )(.+)$", errors.__doc__ or "", re.MULTILINE):
        depth = len(bars) // 4
        names = re.split(r" {3,}", names)[0].split(", ")
        found |= dict.fromkeys(names, parents[depth - 1])
        parents[depth:] = [names[-1]]
    return found


@pytest.mark.parametrize(("code", "mark", "exit_code", "name"), ROWS, ids=[row[0] for row in ROWS])
def test_a_failure_is_what_the_contract_says(code: str, mark: str, exit_code: str, name: str) -> None:
    kind = classes()[name]
    assert kind.code == code
    assert (kind.stop, kind.retryable) == (mark == "stop", mark == "retryable")
    assert kind.exit_code == int(exit_code)


def test_the_contract_names_every_failure_that_can_happen() -> None:
    leaves = {name for name, kind in classes().items() if kind not in families()}
    assert {name for *_, name in ROWS} == leaves | {"TikHubMCPError"}


def test_no_two_failures_share_a_code() -> None:
    codes = [kind.code for kind in classes().values() if kind not in families()]
    assert sorted(codes) == sorted({*codes} - {"internal_error"})


def test_the_drawing_shows_every_failure_under_its_parent() -> None:
    assert drawn() == {name: kind.__bases__[0].__name__ for name, kind in classes().items()}


def test_every_failure_that_stops_tells_the_human_what_to_do() -> None:
    stopping = [kind for kind in classes().values() if kind.stop]
    for kind in stopping:
        # Only settings can say where the missing key belongs.
        assert kind.__name__ == "KeyMissing" or "https://user.tikhub.io/" in str(kind.tell_human)
    assert all(kind.tell_human is None for kind in classes().values() if kind not in stopping)


def test_a_failure_carries_its_message_and_the_wait_that_was_asked_for() -> None:
    failure = errors.RateLimited("Later.", retry_after=7.5)
    assert (str(failure), failure.message, failure.retry_after) == ("Later.", "Later.", 7.5)
    assert errors.DiskFull("Full.").retry_after is None


def test_an_unavailable_tikhub_is_worth_as_many_requests_as_its_cause_allows() -> None:
    assert TikHubUnavailable("Gone.", attempts=3).attempts == 3
    assert {kind.attempts for kind in errors.AnswerError.__subclasses__()} == {1, errors.RateLimited.attempts}


def test_the_module_imports_nothing_of_the_package() -> None:
    source = ast.parse(Path(inspect.getfile(errors)).read_text(encoding="utf-8"))
    imports = [node.module for node in ast.walk(source) if isinstance(node, ast.ImportFrom)]
    assert imports == ["typing"]
    assert not [node for node in ast.walk(source) if isinstance(node, ast.Import)]


@pytest.mark.parametrize(("name", "exit_code"), [(row[3], row[2]) for row in ROWS if row[0] != "tikhub_unavailable"])
def test_a_message_begins_with_the_advice_not_to_retry_where_the_same_would_come_again(
    name: str, exit_code: str
) -> None:
    error = classes()[name]("The post is gone.")
    assert error.message == str(error) == ("Do not retry: " if exit_code == "4" else "") + "The post is gone."
