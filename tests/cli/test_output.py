"""output.py: what commands print of other people's links and paths moves no cursor and turns no direction."""

import json

import pytest

from tikhub_mcp.cli.output import print_batch
from tikhub_mcp.cli.terminal import print_json
from tikhub_mcp.text import printable
from tikhub_mcp.tools.schemas import BatchReply, Cost

SIGNS = "\x1b[2J\x07\n\r\x7f\x9b\u202e\u2066\u200e\u2028\u061c\ufeff\ufff9\U0001bca0\U0001d173"


def reply(path: str) -> BatchReply:
    cost = Cost.model_construct(api_calls=0, reused_answer=False)
    reply = BatchReply.model_construct(  # type: ignore[call-arg]
        workers=1, retry_urls=[], results=[], total=0, succeeded=0, cost=cost
    )
    return reply.model_copy(
        update={
            "failed": 0,
            "skipped": 0,
            "output_dir": path,
            "results_path": path,
            "note": path,
            "error": None,
            "calls_needed": None,
        }
    )


def test_control_and_direction_characters_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_batch(reply(f"/a{SIGNS}b  纸船"))
    out, err = capsys.readouterr()
    assert not set(SIGNS) - {"\n", "[", "2", "J"} & set(out + err)
    assert (out.count("\n"), err.count("\n")) == (3, 1)
    assert "b  纸船" in out
    assert printable("/a\udcff/👩\u200d🚀") == "/a\udcff/👩\u200d🚀"


def test_in_json_they_are_escapes_that_give_the_same_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(reply(f"/a{SIGNS}b"))
    out = capsys.readouterr().out
    assert not {"\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u2028"} & set(out)
    assert json.loads(out)["output_dir"] == f"/a{SIGNS}b"
