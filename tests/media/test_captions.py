"""What is said in captions."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media import captions
from tikhub_mcp.media.captions import MAX_TRANSCRIPT, Transcript, read_captions, transcribe

TIMES = "00:00:01.000 --> 00:00:02.500"


def cues(*texts: str) -> str:
    return "WEBVTT\n\n" + "".join(f"{number}\n{TIMES}\n{text}\n\n" for number, text in enumerate(texts))


@pytest.mark.parametrize(
    "content",
    [b"WEBVTT", b"WEBVTT\n", b"\xef\xbb\xbfWEBVTT\r\n\r\n", b"WEBVTT - some title\n", b"WEBVTT\tKind: captions\r"],
)
def test_captions_are_known_by_their_first_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert transcribe(read_captions(tmp_path / "file")) == Transcript("", truncated=False)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the first line"),
        (b"WEBVTTsecret\n", "the first line"),
        (b"\nWEBVTT\n", "the first line"),
        (b"webvtt\n", "the first line"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nsecret\n", "the first line"),
        (b"<html>WEBVTT</html>", "the first line"),
        (b'{"secret": 1}', "the first line"),
        ("WEBVTT\n\n00:00.000 --> 00:01.000\n字".encode()[:-1], "in UTF-8, or they are cut"),
        ("WEBVTT\n".encode("utf-16"), "in UTF-8"),
        (b"\x1f\x8b\x08\0secret", "in UTF-8"),
        (b"WEBVTT\n" + b"x" * (1 << 20), "more than 1,048,576 bytes"),
    ],
)
def test_what_are_no_captions_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(MediaInvalid, match=why) as caught:
        read_captions(tmp_path / "file")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (cues("Hello", "world"), "Hello world"),
        (cues("Hello", "world").replace("\n", "\r\n"), "Hello world"),
        (cues("Hello", "world").replace("\n", "\r"), "Hello world"),
        (cues("two\nlines"), "two lines"),
        (cues("- Who?\n- Me."), "- Who? - Me."),
        (cues("<v Ann><c.red.big>Hi</c> <00:00:01.500><b>you</b></v>"), "Hi you"),
        (cues("1 < 2 and 3 > 2", "a <3 b", "<i>open"), "1 < 2 and 3 > 2 a <3 b open"),
        (cues("Tom &amp; Ann&nbsp;&lt;b&gt; &#39;x&#39; &amp;lt;"), "Tom & Ann <b> 'x' &lt;"),
        (cues("a&#x202e;b\u202ec\x00d\u200be\ufefff&#8203;g"), "a b c d e f g"),
        (cues("\U0001f468\u200d\U0001f469 字幕 עברית"), "\U0001f468\u200d\U0001f469 字幕 עברית"),
        (cues("one", "one\ntwo", "two\nthree", "three"), "one two three"),  # captions that roll
        (cues("one", "", "one", "two", "one"), "one two one"),
        (cues("one", "<c>&nbsp;</c>", "one", "two"), "one two"),
        (cues("one", " <b>one</b> "), "one"),
        (cues("12", "2026"), "12 2026"),  # numbers that are said
        ("WEBVTT\nKind: captions\nX-TIMESTAMP-MAP=LOCAL:0\n\nNOTE\na note\n\nSTYLE\n::cue {}\n\nREGION\nid:x\n\n", ""),
        (f"WEBVTT\n\nNOTE a note\nof two lines\n\n{TIMES} align:start\nsaid\n\nNOTE the end\n", "said"),
        (f"WEBVTT\n{TIMES}\nwithout a blank line\n{TIMES}\nbetween", "without a blank line between"),
        ("WEBVTT\n\n00:01.000-->00:02.000\nshort times\n", "short times"),
        ("WEBVTT\n\nname --> of a cue\nnot said\n\n", ""),
    ],
)
def test_the_transcript_has_the_words_alone(text: str, words: str) -> None:
    assert transcribe(text) == Transcript(words, truncated=False)


def test_a_long_transcript_is_cut_and_says_so() -> None:
    fits = cues(*(f"{number:09}" for number in range(MAX_TRANSCRIPT // 10)))
    assert len(transcribe(fits).text) == MAX_TRANSCRIPT - 1
    assert not transcribe(fits).truncated
    for longer in (fits + cues("ab")[8:], fits + cues("one", "more")[8:], cues("字" * (MAX_TRANSCRIPT + 1))):
        found = transcribe(longer)
        assert found.truncated
        assert len(found.text) == MAX_TRANSCRIPT
        assert found.text.endswith("…")
    assert not transcribe(fits + cues("a")[8:].replace("a\n", "\n")).truncated


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        *(
            "<" * (1 << 18),
            "<b" * (1 << 17),
            "&" * (1 << 18),
            "0" * (1 << 18),
            "\u200b" * (1 << 18),
            "\n0:0" * (1 << 18),
        ),
        "\n".join(map(chr, range(0x4E00, 0x4E00 + 2900))) + "\na" * (1 << 17),
    ],
)
def test_captions_that_are_made_to_cost_time_do_not(text: str) -> None:
    before = time.thread_time()
    assert len(transcribe(f"WEBVTT\n\n{TIMES}\n{text}").text) <= MAX_TRANSCRIPT
    assert len(transcribe(f"WEBVTT\n\n{text}").text) <= MAX_TRANSCRIPT
    assert time.thread_time() - before < 3


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(text=st.text(), cue=st.text())
def test_any_text_gives_a_transcript_of_one_line_without_control_characters(text: str, cue: str) -> None:
    found = transcribe(f"WEBVTT\n{text}\n\n{TIMES}\n{cue}")
    assert found.text.isprintable() or not found.text.isascii()
    assert len(found.text) <= captions.MAX_TRANSCRIPT
    assert "\n" not in found.text
