"""Music files, held against PyAV, and what is none or not whole."""

import random
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import av
import pytest

from tests.support.downloads import ENCRYPTED, MUSIC, PAGE, VIDEO
from tests.support.hostile_files import fuzz, fuzz_seconds, seconds_to_cancel
from tests.support.make_media import MEDIA, make
from tests.support.make_pictures import PICTURES
from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media import sound
from tikhub_mcp.media.sound import Sound, inspect_sound

FUZZ_SECONDS = fuzz_seconds(0.5)
ID3 = b"ID3\4\0\0\0\0\1\5" + bytes(133)
ID3_WITH_FOOTER = b"ID3\4\0\x10\0\0\0\3" + b"abc" + b"3DI\4\0\x10\0\0\0\3"
TAG = b"TAG" + bytes(125)
APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (42).to_bytes(4, "little") + bytes(4) + b"\0\0\0\x80" + bytes(8)
APE = APE[:20] + b"\0\0\0\xa0" + APE[24:] + bytes(10) + APE  # header, one item of 10 bytes, footer


def encoded(rate: int = 44_100, seconds: float = 0.5, *, counted: bool = True, kbits: int = 64) -> bytes:
    """A tone as an MP3, with or without a first frame that counts the others."""
    file = BytesIO()
    options = {"id3v2_version": "0", "write_id3v1": "0", "write_xing": str(int(counted))}
    with av.open(file, "w", format="mp3", options=options) as container:
        track = container.add_stream("libmp3lame", rate=rate)
        track.bit_rate, track.layout = 1000 * kbits, "mono"
        for start in range(0, round(rate * seconds), 1152):
            frame = av.AudioFrame("fltp", "mono", 1152)
            frame.planes[0].update(random.Random(start).randbytes(4 * 1152 // 2).hex().encode())
            frame.sample_rate, frame.pts = rate, start
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return file.getvalue()


def inspect_bytes(content: bytes, path: Path) -> Sound:
    path.write_bytes(content)
    return inspect_sound(path)


def frames_by_pyav(content: bytes) -> int:
    with av.open(BytesIO(content), "r", format="mp3") as container:
        return sum(packet.size > 0 for packet in container.demux(audio=0))


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(
    ("rate", "samples"),
    [
        (48_000, 1152),
        (44_100, 1152),
        (32_000, 1152),
        (24_000, 576),
        (22_050, 576),
        (16_000, 576),
        (12_000, 576),
        (8_000, 576),
    ],
)
def test_the_frames_of_an_mp3_are_those_that_pyav_finds(rate: int, samples: int, counted: bool, tmp_path: Path) -> None:
    content = encoded(rate, counted=counted, kbits=24 if samples == 576 else 64)
    frames = frames_by_pyav(content)
    expected = Sound("mp3", frames * samples * 1000 // rate)
    assert inspect_bytes(content, tmp_path / "file") == expected
    assert frames > 8
    assert expected.extension == ".mp3"


@pytest.mark.parametrize(
    ("before", "after"),
    [(ID3, b""), (ID3_WITH_FOOTER, b""), (ID3 + ID3, TAG), (b"", TAG), (b"", APE), (b"", APE + TAG)],
)
def test_tags_are_stepped_over(before: bytes, after: bytes, tmp_path: Path) -> None:
    whole = encoded()
    assert inspect_bytes(before + whole + after, tmp_path / "file") == inspect_bytes(whole, tmp_path / "file")


@pytest.mark.slow
@pytest.mark.parametrize("counted", [True, False])
def test_of_60_cuts_and_20_tails_of_an_mp3_none_passes(counted: bool, tmp_path: Path) -> None:
    whole, chance, path = encoded(counted=counted), random.Random(1), tmp_path / "file"
    size = 417  # bytes of a frame of 128 kbit/s, and about twice those of 64
    borders = {at for at in range(len(whole)) if whole[at : at + 2] == whole[:2]} - {0}
    cuts = set(range(len(whole) - 20, len(whole))) | set(chance.sample(range(len(whole) - size), 40))
    for cut in cuts | (borders if counted else set()):
        if counted or cut not in borders:
            with pytest.raises(MediaInvalid):
                inspect_bytes(whole[:cut], path)
    for _ in range(20):
        with pytest.raises(MediaInvalid):
            inspect_bytes(whole + chance.randbytes(chance.choice([1, 4, 127, 5000])), path)
    with pytest.raises(MediaInvalid, match="damaged or cut"):
        inspect_bytes(whole + encoded(48_000), path)


def test_an_mp4_with_sound_is_music_also_beside_a_picture_and_one_without_is_not(tmp_path: Path) -> None:
    found = inspect_sound(MEDIA / "music.m4a")
    assert (found.format, found.extension) == ("m4a", ".m4a")
    assert found.duration_ms is not None
    assert 2900 < found.duration_ms < 3200
    assert inspect_bytes(VIDEO, tmp_path / "file").format == "m4a"
    silent = make(tmp_path / "silent.mp4", sound=False)
    for path, why in ((silent, "no sound track"), (tmp_path / "encrypted", "encrypted")):
        if path != silent:
            path.write_bytes(ENCRYPTED)
        with pytest.raises(MediaInvalid, match=why) as caught:
            inspect_sound(path)
        assert caught.value.refused_content
    for cut in range(len(MUSIC) - 1, 0, -len(MUSIC) // 40):
        with pytest.raises(MediaInvalid):
            inspect_bytes(MUSIC[:cut], tmp_path / "file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        PAGE,
        b"{}",
        ID3,
        TAG,
        APE,
        bytes(5000),
        b"\xff\xf1\x50\x80" * 500,
        b"\xff" * 5000,
        b"ID3",
    ]
    + [PICTURES[name]() for name in ("JPEG baseline", "WebP lossy", "PNG one bit")],
)
def test_what_is_no_music_is_called_so(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(MediaInvalid, match=r"^it is no MP3 and no MP4 with sound$"):
        inspect_bytes(content, tmp_path / "file")


def test_tags_without_number_are_refused_at_once(tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(b"ID3\4\0\0\0\0\0\0" * (1 << 20))
    before = time.thread_time()
    with pytest.raises(MediaInvalid, match="it is no MP3"):
        inspect_sound(path)
    assert time.thread_time() - before < 1


def test_frames_without_number_are_refused_and_a_cancelled_caller_ends_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes((b"\xff\xf3\x14\0" + bytes(20)) * 3_000_000)  # of the smallest size there is
    assert seconds_to_cancel(inspect_sound, path, after=0.1) < 1
    monkeypatch.setattr(sound, "MAX_MP3_FRAMES", 1000)
    with pytest.raises(MediaInvalid, match="more than 1,000 MP3 frames"):
        inspect_sound(path)


@pytest.mark.slow
@pytest.mark.timeout(60 + 2 * FUZZ_SECONDS)
def test_mutated_music_gives_a_sound_or_media_invalid_within_seconds(tmp_path: Path) -> None:
    def look(content: bytes) -> None:
        with suppress(MediaInvalid):
            assert isinstance(inspect_bytes(content, tmp_path / "file"), Sound)

    def headers(content: bytes) -> list[range]:
        return [range(40), range(700), range(len(content))]

    files = [ID3 + encoded() + APE + TAG, encoded(counted=False), MUSIC]
    fuzz(files, look, FUZZ_SECONDS, [b"\xff\xfb", ID3[:10], b"\0\0\0\x08"], headers)
