"""Which failures are worth another request, and after how long."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tikhub_mcp.api.retry import MAX_WAIT_SECONDS, next_wait
from tikhub_mcp.errors import AnswerError, PostUnavailable, RateLimited, TikHubUnavailable, UnexpectedAnswer
from tikhub_mcp.net import retry_after
from tikhub_mcp.net.retry_after import parse_retry_after

NOW = 1_760_000_000.0
OF_NOW = datetime.fromtimestamp(NOW, UTC)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand the clock still, in a place that is not on UTC."""
    monkeypatch.setattr(retry_after, "time", SimpleNamespace(time=lambda: NOW))
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# What to wait


@pytest.mark.parametrize("kind", [kind for kind in AnswerError.__subclasses__() if kind is not TikHubUnavailable])
def test_only_what_may_pass_is_asked_again(kind: type[AnswerError]) -> None:
    assert (next_wait(kind("x"), 1) is not None) == (kind is RateLimited)


@pytest.mark.parametrize("attempts", [1, 2, 3, 4])
def test_a_failure_is_worth_its_attempts_and_no_more(attempts: int) -> None:
    failure = TikHubUnavailable("x", attempts=attempts)
    worth = [attempt for attempt in range(1, 9) if next_wait(failure, attempt) is not None]
    assert worth == list(range(1, attempts))


def test_a_rate_limit_is_worth_three_more_requests() -> None:
    assert [next_wait(RateLimited("x", retry_after=1.0), attempt) for attempt in range(1, 6)] == [1, 1, 1, None, None]


@pytest.mark.parametrize(
    ("asked", "waited"), [(0.0, 0.0), (0.5, 0.5), (7.0, 7.0), (MAX_WAIT_SECONDS, 20.0), (20.1, None), (1e15, None)]
)
def test_a_rate_limit_is_waited_for_as_long_as_it_asks_but_never_over_20_seconds(
    asked: float, waited: float | None
) -> None:
    assert next_wait(RateLimited("x", retry_after=asked), 1) == waited


@pytest.mark.parametrize("failure", [RateLimited("x"), TikHubUnavailable("x", attempts=4)])
def test_without_a_time_the_wait_doubles_and_is_spread(failure: AnswerError, monkeypatch: pytest.MonkeyPatch) -> None:
    spread: list[tuple[float, float]] = []

    def middle(low: float, high: float) -> float:
        spread.append((low, high))
        return (low + high) / 2

    monkeypatch.setattr(random, "uniform", middle)
    assert [next_wait(failure, attempt) for attempt in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert spread == [(0.5, 1.5)] * 3


@pytest.mark.parametrize("failure", [PostUnavailable("x"), UnexpectedAnswer("x")])
def test_an_answer_that_was_paid_for_is_never_asked_for_again(failure: AnswerError) -> None:
    assert next_wait(failure, 1) is None


# The header


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("2", 2.0),
        (" 20 ", 20.0),
        ("007", 7.0),
        ("999999999999", 999_999_999_999.0),
        *((nothing, None) for nothing in (None, "", "  ", "-5", "+5", "abc", "nan", "inf", "1e9", "1.5", "٥", "5 s")),
        *((joined, None) for joined in ("5, 10", "5,5", "5, ", "9" * 16, "9" * 5000)),
    ],
)
def test_seconds_are_read_and_nonsense_means_the_ordinary_backoff(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header) == seconds


@pytest.mark.parametrize("wait", [1, 15, 86_400])
def test_a_date_is_read_in_every_form_that_http_has_known(wait: int) -> None:
    date = OF_NOW + timedelta(seconds=wait)
    forms = [
        format_datetime(date, usegmt=True),
        date.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        date.strftime("%a %b %d %H:%M:%S %Y"),  # names no zone, and means UTC
        format_datetime(date.astimezone(timezone(timedelta(hours=8)))),
    ]
    assert [parse_retry_after(form) for form in forms] == [wait] * 4


@pytest.mark.parametrize("ago", [0, 1, 10**9])
def test_a_date_that_has_passed_asks_for_nothing(ago: int) -> None:
    assert parse_retry_after(format_datetime(OF_NOW - timedelta(seconds=ago), usegmt=True)) is None


@pytest.mark.parametrize(
    "header", ["Wed, 99 Oct 2099 07:28:00 GMT", "Wed, 21 Oct 2099 07:28:00 +9999", "Wed, 21 Oct 99999 07:28:00 GMT"]
)
def test_a_date_that_is_none_asks_for_nothing(header: str) -> None:
    assert parse_retry_after(header) is None


WORDS = "Wed, Sun Nov Oct 21 1 9999 0 07:28:00 7.28 GMT +0100 -0000 +9999 ( ) , - : 12-Jan-99 am"


@pytest.mark.slow
@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS.split()), max_size=9).map(" ".join))
def test_whatever_a_header_holds_it_is_a_time_to_come_or_none(header: str) -> None:
    seconds = parse_retry_after(header)
    assert seconds is None or 0 <= seconds < 1e15
