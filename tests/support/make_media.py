"""Makes small real videos of our own: a moving gradient and a tone.

A module for the tests, and a script (`python tests/support/make_media.py [FOLDER]`) that makes the sandbox's media
anew:
the same bytes again from the same versions of PyAV's libraries.
"""

from __future__ import annotations

import heapq
import math
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeVar

import av
import pillow_heif
from av.audio.frame import AudioFrame
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from PIL import Image

from tikhub_mcp.media import mp4
from tikhub_mcp.media.boxes import BoxReader

F = TypeVar("F")
Codec = Literal["libx264", "libx265"]
Layout = Literal["moov last", "moov first", "fragmented", "fragmented with default base"]

MEDIA = Path(__file__).parents[2] / "tikhub_mcp" / "sandbox" / "media"
FRAMES = 30  # pictures a second
TONE = 44_100  # samples of sound a second
FRAME_OF_AAC = 1024  # samples
MOVFLAGS: dict[Layout, str] = {
    "moov last": "-faststart",
    "moov first": "+faststart",
    "fragmented": "+frag_keyframe+empty_moov",
    "fragmented with default base": "+frag_keyframe+empty_moov+default_base_moof",
}
CENC = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0f" * 16, "encryption_kid": "a1" * 16}
ALONE: dict[Codec, dict[str, str]] = {  # on one thread an encoder decides the same way every time
    "libx264": {"x264-params": "threads=1"},
    "libx265": {"x265-params": "log-level=none:pools=none:frame-threads=1:info=0"},
}
CAPTIONS = """WEBVTT

00:00:00.140 --> 00:00:01.500
Paper boats <b>float</b>

00:00:01.500 --> 00:00:02.900
for about a minute.
"""
WAVE = bytes([*range(256), *range(255, -1, -1)])  # a triangle: a gradient without edges


def make(
    path: Path,
    codec: Codec | None = "libx264",
    *,
    sound: bool = True,
    layout: Layout = "moov last",
    size: tuple[int, int] = (64, 64),
    seconds: float = 1.0,
    crf: int = 30,
    encrypted: bool = False,
) -> Path:
    """Make a video of `size` pixels (width, height) with two key frames a second, or without a codec an M4A.

    Of `crf`, the encoder's scale of quality, more is smaller and worse. Encryption is that of ISO/IEC 23001-7 (CENC).
    Returns `path`.

    Raises:
        ValueError: A picture is less than 64 pixels wide, which x265 answers by writing past its buffers.
    """
    if size[0] < 64:
        raise ValueError("x265 needs 64 pixels")
    options = {"movflags": MOVFLAGS[layout], "fflags": "+bitexact"} | (CENC if encrypted else {})
    with av.open(path, "w", format="mp4" if codec else "ipod", options=options) as container:
        tracks: list[Iterator[Packet[Stream]]] = []
        if codec:
            video = container.add_stream(codec, rate=FRAMES, options={"crf": str(crf), **ALONE[codec]})
            video.width, video.height = size
            video.pix_fmt, video.gop_size = "yuv420p", FRAMES // 2
            if codec == "libx265":
                video.codec_context.codec_tag = "hvc1"  # as players want it, and as CDNs send it
            tracks.append(_encoded(video.encode, _pictures(size, seconds)))
        if sound:
            audio = container.add_stream("aac", rate=TONE, options={"flags": "+bitexact"})
            audio.layout, audio.bit_rate = "mono", 48_000
            tracks.append(_encoded(audio.encode, _tones(seconds)))
        for packet in heapq.merge(*tracks, key=_time):
            container.mux(packet)
    return path


def retouched(content: bytes) -> bytes:
    """Another film with the same index: all of its media differs, but for where each picture's NAL unit begins."""
    reader = BoxReader()
    with BytesIO(content) as file, ExitStack() as held:
        layout = mp4._layout(file, reader, held)
        places = [place for track in mp4._tracks(reader, layout) for run in track.places for place in run]
    changed = bytearray(content)
    for start, end in zip(layout.starts, layout.ends, strict=True):
        changed[start:end] = bytes(255 - byte for byte in content[start:end])
    for at, _ in places:
        changed[at : at + 8] = content[at : at + 8]
    return bytes(changed)


def _encoded(encode: Callable[[F | None], list[Packet[Stream]]], frames: Iterator[F]) -> Iterator[Packet[Stream]]:
    for frame in frames:
        yield from encode(frame)
    yield from encode(None)


def _time(packet: Packet[Stream]) -> Fraction:
    return (packet.dts or 0) * packet.time_base


def _pictures(size: tuple[int, int], seconds: float) -> Iterator[VideoFrame]:
    for number in range(round(FRAMES * seconds)):
        frame = VideoFrame(*size, "yuv420p")
        for plane, speed in zip(frame.planes, (5, 2, -3), strict=True):
            # Parabolas of light that move: each row is a piece of the wave, so no pixel is computed by itself.
            starts = ((y * y // 16 + speed * number) % len(WAVE) for y in range(plane.height))
            row = WAVE * (plane.width // len(WAVE) + 2)
            plane.update(b"".join(row[s : s + plane.width].ljust(plane.line_size, b"\0") for s in starts))
        frame.pts, frame.time_base = number, Fraction(1, FRAMES)
        yield frame


def _tones(seconds: float) -> Iterator[AudioFrame]:
    for start in range(0, round(TONE * seconds), FRAME_OF_AAC):
        frame = AudioFrame("fltp", "mono", FRAME_OF_AAC)
        samples = (0.3 * math.sin(math.tau * 440 * n / TONE) for n in range(start, start + FRAME_OF_AAC))
        frame.planes[0].update(array("f", samples).tobytes())
        frame.sample_rate, frame.pts, frame.time_base = TONE, start, Fraction(1, TONE)
        yield frame


def main(folder: Path) -> None:
    """Make what the sandbox serves."""
    folder.mkdir(parents=True, exist_ok=True)
    make(folder / "h264.mp4", layout="moov first", size=(144, 256), seconds=3, crf=23)
    make(folder / "h264_large.mp4", layout="moov first", size=(360, 640), seconds=3, crf=28)
    make(folder / "h264_dash.mp4", layout="moov first", size=(432, 768), seconds=3, crf=40, sound=False)
    make(folder / "h265.mp4", "libx265", layout="moov first", size=(360, 640), seconds=3, crf=32)
    make(folder / "h265_silent.mp4", "libx265", layout="moov first", size=(360, 640), seconds=3, crf=32, sound=False)
    make(folder / "music.m4a", None, layout="moov first", seconds=3)
    photo = Image.linear_gradient("L").resize((96, 128)).convert("RGB")
    photo.save(folder / "photo.jpeg", progressive=True)
    photo.save(folder / "photo.webp")
    pillow_heif.register_heif_opener()
    photo.save(folder / "photo.heic")
    (folder / "captions.vtt").write_text(CAPTIONS)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else MEDIA)
