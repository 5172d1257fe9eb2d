"""What a file really is, held against PyAV (FFmpeg), and what is none or not whole."""

import os
import re
import struct
import time
from collections.abc import Callable, Iterator
from itertools import cycle, product
from pathlib import Path
from typing import get_args

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import make_media
from tests.support.make_media import MEDIA, Codec, Layout, make
from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media import boxes, mp4
from tikhub_mcp.media.mp4 import Media, inspect

Look = Callable[[bytes], Media]
CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="session")
def film(folder: Path) -> bytes:
    """H.264 with sound, the moov last."""
    return make(folder / "film.mp4", size=(64, 32), seconds=0.2).read_bytes()


@pytest.fixture(scope="session")
def fast_film(folder: Path) -> bytes:
    """The same with the moov first."""
    return make(folder / "fast_film.mp4", size=(64, 32), seconds=0.2, layout="moov first").read_bytes()


@pytest.fixture(scope="session")
def fragments(folder: Path) -> bytes:
    """Two fragments of half a second each."""
    return make(folder / "fragments.mp4", size=(64, 32), layout="fragmented with default base").read_bytes()


@pytest.fixture
def look(tmp_path: Path) -> Look:
    def look(content: bytes) -> Media:
        path = tmp_path / "file.mp4"
        path.write_bytes(content)
        return inspect(path)

    return look


def by_pyav(path: Path) -> Media:
    with av.open(path) as container:
        video = container.streams.video[0]
        assert video.duration is not None
        assert video.time_base is not None
        return Media(
            codec={"h264": "h264", "hevc": "h265"}[video.codec_context.name],
            width=video.codec_context.width,
            height=video.codec_context.height,
            duration_ms=round(video.duration * video.time_base * 1000),
            has_audio=bool(container.streams.audio),
        )


def box(kind: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def words(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def split(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The boxes in `data`, none of which has a 64-bit size: type and content."""
    while data:
        size, kind = struct.unpack_from(">I4s", data)
        yield kind, data[8:size]
        data = data[size:]


def edited(data: bytes, kind: bytes, change: Callable[[bytes], bytes], *, whole: bool = False) -> bytes:
    """`data` with the content of every box of a kind changed (the box itself, if `whole`), at any depth."""

    def one(inner: bytes, content: bytes) -> bytes:
        if inner == kind:
            return change(box(inner, content)) if whole else box(inner, change(content))
        return box(inner, edited(content, kind, change, whole=whole) if inner in CONTAINERS else content)

    return b"".join(one(*found) for found in split(data))


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new)


def edges(data: bytes) -> list[int]:
    """Where the boxes of the top level end."""
    ends = [0]
    for _, content in split(data):
        ends.append(ends[-1] + 8 + len(content))
    return ends[1:]


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "sound", "layout"), [*product(get_args(Codec), (True, False), get_args(Layout))])
def test_what_is_found_in_a_file_is_what_pyav_finds(codec: Codec, sound: bool, layout: Layout, tmp_path: Path) -> None:
    path = make(tmp_path / "film.mp4", codec, sound=sound, layout=layout, size=(72, 128), seconds=1.3)
    assert inspect(path) == by_pyav(path) == Media("h264" if codec == "libx264" else "h265", 72, 128, 1300, sound)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h264.mp4", Media("h264", 144, 256, 3000, True)),
        ("h264_large.mp4", Media("h264", 360, 640, 3000, True)),
        ("h265.mp4", Media("h265", 360, 640, 3000, True)),
        ("h265_silent.mp4", Media("h265", 360, 640, 3000, False)),
    ],
)
def test_the_media_of_the_sandbox_are_what_their_names_say(name: str, expected: Media) -> None:
    assert inspect(MEDIA / name) == by_pyav(MEDIA / name) == expected


def test_the_music_of_a_photo_post_is_no_video() -> None:
    with pytest.raises(MediaInvalid, match="it has no video track"):
        inspect(MEDIA / "music.m4a")


def test_a_media_box_with_a_64_bit_size_is_read(film: bytes, fast_film: bytes, tmp_path: Path) -> None:
    # FFmpeg leaves 8 bytes of `free` before the mdat so that its header can grow; elsewhere the chunks have to move.
    start = film.index(b"mdat") - 4
    size = struct.unpack_from(">I", film, start)[0]
    assert film[start - 8 : start] == box(b"free")
    grown = film[: start - 8] + struct.pack(">I4sQ", 1, b"mdat", size + 8) + film[start + 8 :]

    start = fast_film.index(b"mdat") - 4
    size = struct.unpack_from(">I", fast_film, start)[0]
    moved = fast_film[:start] + struct.pack(">I4sQ", 1, b"mdat", size + 8) + fast_film[start + 8 :]
    index_end = edges(fast_film)[1]
    moved = edited(moved[:index_end], b"stco", lambda table: shifted(table, 8)) + moved[index_end:]

    for content in (grown, moved):
        path = tmp_path / "film.mp4"
        path.write_bytes(content)
        assert inspect(path) == by_pyav(path) == Media("h264", 64, 32, 200, True)


def shifted(stco: bytes, by: int) -> bytes:
    count = struct.unpack_from(">I", stco, 4)[0]
    return stco[:8] + words(*(offset + by for offset in struct.unpack_from(f">{count}I", stco, 8)))


def test_64_bit_chunk_offsets_and_times_are_read(film: bytes, tmp_path: Path) -> None:
    def co64(stco: bytes) -> bytes:
        _, _, version, count, *offsets = struct.unpack(f">{len(stco) // 4}I", stco)
        return box(b"co64", words(version, count), struct.pack(f">{count}Q", *offsets))

    def long_times(before_duration: int) -> Callable[[bytes], bytes]:
        end = 12 + before_duration
        return lambda head: b"\1" + head[1:4] + bytes(16) + head[12:end] + bytes(4) + head[end:]

    path = tmp_path / "film.mp4"
    content = edited(film, b"stco", co64, whole=True)
    path.write_bytes(edited(edited(content, b"mdhd", long_times(4)), b"tkhd", long_times(8)))
    assert inspect(path) == by_pyav(path) == Media("h264", 64, 32, 200, True)


def open_ended(content: bytes) -> bytes:
    """The file with an mdat, its last box, that has no size of its own."""
    return content.replace(content[edges(content)[-2] :][:8], words(0) + b"mdat")


def test_a_last_media_box_without_a_size_reaches_to_the_end(fast_film: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(open_ended(fast_film))
    assert inspect(path) == by_pyav(path) == Media("h264", 64, 32, 200, True)


def test_unknown_free_and_empty_boxes_are_stepped_over(film: bytes, look: Look) -> None:
    around = box(b"free", bytes(99)) + box(b"uuid", bytes(40)) + box(b"mdat") + box(b"\0\xff\n<")
    start = edges(film)[-2]
    assert look(film[:start] + around + film[start:] + around) == Media("h264", 64, 32, 200, True)


def test_samples_in_the_moov_and_in_fragments_are_added_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(make_media.MOVFLAGS, "fragmented", "+frag_keyframe")  # the first fragment goes into the moov
    path = make(folder / "hybrid.mp4", layout="fragmented")
    assert [kind for kind, _ in split(path.read_bytes())].count(b"mdat") == 2
    assert inspect(path) == by_pyav(path) == Media("h264", 64, 64, 1000, True)


@pytest.mark.parametrize(
    ("entry", "codec"),
    [
        (b"avc3", "h264"),
        (b"hev1", "h265"),
        (b"av01", "av1"),
        (b"vp09", "vp9"),
        (b"mp4v", "mp4v"),
        (b"m<\n\xff", "m"),
        (b"\0\0\0\0", "unknown"),
    ],
)
def test_the_codec_is_that_of_the_sample_entry(entry: bytes, codec: str, film: bytes, look: Look) -> None:
    assert look(edited(film, b"stsd", replaced(b"avc1", entry))).codec == codec


@pytest.mark.parametrize("codec", get_args(Codec))
@pytest.mark.parametrize("layout", ["moov first", "fragmented"])
def test_an_encrypted_film_is_called_so(codec: Codec, layout: Layout, tmp_path: Path) -> None:
    path = make(tmp_path / "film.mp4", codec, layout=layout, encrypted=True, seconds=0.5)
    with pytest.raises(MediaInvalid, match=r"^it is encrypted$") as caught:
        inspect(path)
    assert caught.value.refused_content


ENCRYPTED: dict[str, Callable[[bytes], bytes]] = {
    "the picture": replaced(b"avc1", b"encv"),
    "the sound": replaced(b"mp4a", b"enca"),
    "by Apple's own scheme": replaced(b"avc1", b"drmi"),
    "by its scheme alone": lambda stsd: stsd.replace(b"avcC", b"sinf"),
    "by its second entry": lambda stsd: stsd[:7] + b"\2" + stsd[8:] + box(b"encv", bytes(78)),
}


@pytest.mark.parametrize("what", ENCRYPTED)
def test_a_film_is_encrypted_if_any_of_its_entries_says_so(what: str, film: bytes, look: Look) -> None:
    scrambled = edited(film, b"mdat", lambda media: bytes(255 - byte for byte in media))  # as whole-sample schemes do
    for content in (film, scrambled):
        with pytest.raises(MediaInvalid, match=r"^it is encrypted$"):
            look(edited(content, b"stsd", ENCRYPTED[what]))


def test_what_follows_the_entries_of_a_list_is_not_read(film: bytes, look: Look) -> None:
    assert look(edited(film, b"stsd", lambda stsd: stsd + bytes(16))) == Media("h264", 64, 32, 200, True)
    assert look(edited(film, b"stsd", lambda stsd: bytes(8) + stsd[8:])) == Media("h264", 64, 32, 200, True)


@pytest.mark.parametrize("entry", [b"vvc1", b"vvi1", b"bvc2"])
def test_h266_is_refused(entry: bytes, film: bytes, look: Look) -> None:
    with pytest.raises(MediaInvalid, match=r"H\.266, which nothing plays") as caught:
        look(edited(film, b"stsd", replaced(b"avc1", entry)))
    assert caught.value.refused_content


def test_new_links_help_a_damaged_film_and_not_one_that_is_only_sound(film: bytes, look: Look) -> None:
    with pytest.raises(MediaInvalid) as damaged:
        look(film[:-1])
    with pytest.raises(MediaInvalid) as sound:
        inspect(MEDIA / "music.m4a")
    assert (damaged.value.refused_content, sound.value.refused_content) == (False, True)


def test_of_two_video_tracks_the_longer_one_counts(film: bytes, look: Look) -> None:
    def still(trak: bytes) -> bytes:
        if b"soun" not in trak:
            return trak
        one, jpeg = words(0, 1, 1), words(0, 1) + box(b"jpeg", bytes(70))
        return edited(edited(trak, b"stsz", lambda _: one), b"stsd", lambda _: jpeg).replace(b"soun", b"vide")

    assert look(edited(film, b"trak", still, whole=True)) == Media("h264", 64, 32, 200, False)


def with_duration(samples: int, delta: int, timescale: int) -> Callable[[bytes], bytes]:
    def change(mdia: bytes) -> bytes:
        mdia = edited(mdia, b"mdhd", lambda mdhd: mdhd[:12] + words(timescale) + mdhd[16:])
        return edited(mdia, b"stts", lambda _: words(0, 1, samples, delta))

    return change


@pytest.mark.parametrize(
    ("told", "milliseconds"),
    [
        ((10, 1001, 30_000), 334),
        ((0, 512, 15_360), None),
        ((10, 512, 0), None),
        ((0xFFFF_FFFF, 0xFFFF_FFFF, 1), None),  # 18 thousand million years of damage
    ],
)
def test_a_duration_that_is_not_told_is_none(
    told: tuple[int, int, int], milliseconds: int | None, film: bytes, look: Look
) -> None:
    assert look(edited(film, b"mdia", with_duration(*told))).duration_ms == milliseconds


def by_hand(init: bytes, flags: int, tfhd: bytes, media: int) -> bytes:
    """A file with one fragment of 30 samples and `media` bytes of them; `init` is its ftyp and moov."""
    trun = words(0x5, 30, 0, 0)  # data_offset, first_sample_flags; no columns
    traf = box(b"traf", box(b"tfhd", words(flags, 1), tfhd), box(b"trun", trun))
    stranger = box(b"traf", box(b"tfhd", words(0x18, 9, 10**6, 0)), box(b"trun", trun))
    return init + box(b"moof", box(b"mfhd", words(0, 1)), traf, stranger) + box(b"mdat", bytes(media))


@pytest.mark.parametrize(
    ("flags", "tfhd", "media", "milliseconds"),
    [
        (0x0, b"", 300, 1000),
        (0x3, bytes(12), 300, 1000),
        (0x1B, bytes(12) + words(256, 20), 600, 500),
    ],
)
def test_what_fragments_do_not_tell_of_their_samples_is_as_their_track_says(
    flags: int, tfhd: bytes, media: int, milliseconds: int, fragments: bytes, look: Look
) -> None:
    init = edited(fragments[: edges(fragments)[1]], b"trex", lambda trex: trex[:12] + words(512, 10, 0))
    assert look(by_hand(init, flags, tfhd, media)) == Media("h264", 64, 32, milliseconds, False)
    with pytest.raises(MediaInvalid, match="its fragments is not all there: 1 bytes missing"):
        look(by_hand(init, flags, tfhd, media - 1))


def test_a_film_without_a_single_fragment_is_refused(fragments: bytes, look: Look) -> None:
    init = fragments[: edges(fragments)[1]]
    for content in (init, init + box(b"mdat")):
        with pytest.raises(MediaInvalid, match="it has no media data"):
            look(content)
    with pytest.raises(MediaInvalid, match="its video track is empty"):
        look(init + box(b"mdat", b"media"))


def in_one_chunk(start: int, size: int) -> Callable[[bytes], bytes]:
    """Tables of six samples of one size, all in one chunk."""

    def change(stbl: bytes) -> bytes:
        stbl = edited(stbl, b"stsc", lambda _: words(0, 1, 1, 6, 1))
        stbl = edited(stbl, b"stsz", lambda _: words(0, size, 6))
        return edited(stbl, b"stco", lambda _: words(0, 1, start))

    return change


def test_the_last_chunk_may_end_where_its_media_box_ends_and_not_later(film: bytes, look: Look) -> None:
    start = film.index(b"mdat") + 4
    room = edges(film)[-2] - start
    assert look(edited(film, b"stbl", in_one_chunk(start + room % 6, room // 6))).duration_ms == 200
    with pytest.raises(MediaInvalid, match="part of it is missing"):
        look(edited(film, b"stbl", in_one_chunk(start + room % 6 + 1, room // 6)))


def first_chunk_at(start: int) -> Callable[[bytes], bytes]:
    return lambda stco: stco[:8] + words(start) + stco[12:]


def test_every_chunk_must_start_inside_a_media_box(film: bytes, look: Look) -> None:
    for start in (0, film.index(b"mdat") + 3, edges(film)[-2], len(film), 0xFFFF_FFFF):
        with pytest.raises(MediaInvalid, match="part of it is missing"):
            look(edited(film, b"stco", first_chunk_at(start)))


def test_samples_that_are_nowhere_are_none(film: bytes, look: Look) -> None:
    content = edited(edited(film, b"stco", lambda _: words(0, 0)), b"stsc", lambda _: words(0, 0))
    with pytest.raises(MediaInvalid, match="its video track is empty"):
        look(content)


def lengths_accepted(content: bytes, path: Path) -> dict[int, Media]:
    """Of all the truncations of a file those that pass, and what they pass for."""
    path.write_bytes(content)
    accepted = {}
    for length in range(len(content) - 1, -1, -1):
        os.truncate(path, length)
        found = judged(path)
        if isinstance(found, Media):
            accepted[length] = found
    return accepted


def judged(path: Path) -> Media | str:
    """What a file is, or the reason why it is refused."""
    try:
        return inspect(path)
    except MediaInvalid as error:
        return error.message


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["moov last", "moov first", "mdat without a size"])
def test_no_truncation_of_a_film_passes(layout: str, film: bytes, fast_film: bytes, tmp_path: Path) -> None:
    content = {"moov last": film, "moov first": fast_film, "mdat without a size": open_ended(fast_film)}[layout]
    assert lengths_accepted(content, tmp_path / "film.mp4") == {}


@pytest.mark.slow
def test_of_a_fragmented_film_only_whole_fragments_pass_and_the_duration_tells(
    fragments: bytes, tmp_path: Path
) -> None:
    ends = edges(fragments)
    assert [kind for kind, _ in split(fragments)] == [b"ftyp", b"moov", b"moof", b"mdat", b"moof", b"mdat", b"mfra"]
    accepted = lengths_accepted(fragments, tmp_path / "film.mp4")
    assert {length: media.duration_ms for length, media in accepted.items()} == {ends[3]: 500, ends[5]: 1000}


def test_the_reason_names_the_box_and_what_is_missing(fast_film: bytes, look: Look) -> None:
    with pytest.raises(MediaInvalid, match=r"^the file ends inside its 'mdat' box: 1,000 bytes missing$"):
        look(fast_film[:-1000])


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0",
        bytes(8),
        bytes(1000),
        b"\r\n",
        b"<html>sorry</html>",
        b"\0\0\0\7free",
        b"\0\0\0\1free",
        b"\0\0\0\1free\0\0\0\0\0\0\0\7",
        b"\0\0\0\1free\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\0\x10moov" + bytes(8),
        b"\0\0\0\x10ftypmp42" + bytes(4),
    ],
)
def test_garbage_after_the_last_box_is_refused(garbage: bytes, film: bytes, look: Look) -> None:
    with pytest.raises(MediaInvalid):
        look(film + garbage)


def test_two_files_in_one_are_refused(film: bytes, fast_film: bytes, look: Look) -> None:
    with pytest.raises(MediaInvalid, match="it is two files in one"):
        look(film + fast_film)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\0\0\0\x08fty",
        b"<!DOCTYPE html><title>secret</title>" + b" " * 5000,
        b'{"secret": "not a video"}',
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(100),
        b"ID3\4\0\0\0\0\0\0" + bytes(1000),
        b"\xff\xfb\x90d" + bytes(1000),
        b"\x1aE\xdf\xa3" + bytes(100),
        bytes(100_000),
        box(b"styp", b"msdhmsdh") + box(b"mdat", b"media"),
    ],
    ids=["empty", "byte", "tiny", "html", "json", "png", "id3", "mp3", "webm", "zeros", "segment"],
)
def test_what_is_no_mp4_is_called_so(content: bytes, look: Look) -> None:
    with pytest.raises(MediaInvalid, match=r"^it is not an MP4 file: it does not begin with an 'ftyp' box$"):
        look(content)


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        (b"trak", lambda _: box(b"free"), "it has no video track"),
        (b"hdlr", lambda _: box(b"hdlr", words(0, 0), b"pict"), "it has no video track"),
        (b"hdlr", lambda _: box(b"free"), "it has no video track"),
        (b"stsd", lambda _: box(b"stsd", words(0, 0)), "it has no video track"),
        (b"stsd", lambda _: box(b"stsd", words(0, 1), box(b"avc1", bytes(9))), "a box in it is missing or too short"),
        (b"moov", lambda moov: moov.replace(b"moov", b"free"), "it has no 'moov' box"),
        (b"mdat", lambda mdat: mdat.replace(b"mdat", b"free", 1), "it has no media data"),
        (b"mdhd", lambda _: box(b"free"), "a box in it is missing or too short"),
        (b"stbl", lambda _: box(b"free"), "a box in it is missing or too short"),
        (b"stco", lambda stco: stco[:12] + words(0xFFFF_FFFF) + stco[16:], "a box in it is missing or too short"),
        (b"stts", lambda stts: stts[:12] + words(0xFFFF_FFFF) + stts[16:], "a box in it is missing or too short"),
        (b"tkhd", lambda tkhd: words(4) + tkhd[4:], "a box is smaller than its own header"),
        (b"tkhd", lambda tkhd: words(0) + tkhd[4:], "a box is smaller than its own header"),
        (b"tkhd", lambda tkhd: words(9999) + tkhd[4:], "a box is larger than the box around it"),
        (b"stco", lambda _: box(b"stco", words(0, 0)), "part of it is missing"),
        (b"stsz", lambda _: box(b"stsz", words(0, 1 << 20, 6)), "part of it is missing"),
    ],
)
def test_an_index_that_cannot_be_right_is_refused(
    kind: bytes, change: Callable[[bytes], bytes], reason: str, film: bytes, look: Look
) -> None:
    with pytest.raises(MediaInvalid, match=reason):
        look(edited(film, kind, change, whole=True))


@pytest.mark.parametrize("sizes", [box(b"stsz", words(0, 16, 6)), box(b"stz2", words(0, 16, 6), bytes(24))])
def test_other_tables_of_sample_sizes_are_read(sizes: bytes, film: bytes, look: Look) -> None:
    assert look(edited(film, b"stsz", lambda _: sizes, whole=True)) == Media("h264", 64, 32, 200, True)


def test_a_list_of_boxes_may_close_with_four_zero_bytes(film: bytes, look: Look) -> None:
    assert look(edited(film, b"moov", lambda moov: moov + bytes(4))) == Media("h264", 64, 32, 200, True)


def test_an_index_without_bounds_is_refused(film: bytes, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mp4, "MAX_INDEX_BYTES", 1000)
    with pytest.raises(MediaInvalid, match="its index is larger than 1,000 bytes"):
        look(film)


def test_boxes_without_number_are_refused(film: bytes, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "MAX_BOXES", 1000)
    many = box(b"free") * 1000
    for content in (film + many, edited(film, b"moov", lambda moov: moov + many)):
        with pytest.raises(MediaInvalid, match="it has more than 1,000 boxes"):
            look(content)


def test_the_size_of_the_film_does_not_matter(fast_film: bytes, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    start = edges(fast_film)[-2]
    path.write_bytes(fast_film[:start] + words(1 << 30) + fast_film[start + 4 :])
    os.truncate(path, start + (1 << 30))  # a gigabyte, most of it a hole
    before = time.process_time()
    assert inspect(path) == Media("h264", 64, 32, 200, True)
    assert time.process_time() - before < 0.1


def test_what_the_system_refuses_stays_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "nothing.mp4")
    with pytest.raises(OSError):  # noqa: PT011 - which one, and in which words, is the system's affair
        inspect(tmp_path)


Change = tuple[str, int, bytes]


def changed(content: bytes, changes: list[Change]) -> bytes:
    data = bytearray(content)
    for how, place, new in changes:
        at = place % (len(data) + 1)
        end = {"overwrite": at + len(new), "insert": at, "cut": len(data), "remove": at + 8 * len(new)}[how]
        data[at:end] = b"" if how in ("cut", "remove") else new
    return bytes(data)


SIZES = st.sampled_from([0, 1, 7, 8, 15, 16, 24, 1 << 31, (1 << 32) - 1]).map(words)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "overwrite", "overwrite", "insert", "cut", "remove"]),
        st.integers(0, 1 << 16),
        st.binary(min_size=1, max_size=9) | SIZES,
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_gives_a_media_or_media_invalid(
    data: st.DataObject, film: bytes, fast_film: bytes, fragments: bytes, folder: Path
) -> None:
    whole = data.draw(st.sampled_from([film, fast_film, fragments]))
    path = folder / "damaged.mp4"
    path.write_bytes(changed(whole, data.draw(CHANGES)))
    found = judged(path)
    assert isinstance(found, Media) or set(re.findall("'(.*?)'", found)) <= {
        "ftyp",
        "moov",
        "moof",
        "mdat",
        "mfra",
        "free",
    }


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=400))
def test_any_bytes_give_a_media_or_media_invalid(content: bytes, folder: Path) -> None:
    path = folder / "random.mp4"
    for data in (
        content,
        box(b"ftyp", b"isomisom") + content,
        box(b"ftyp") + box(b"mdat", b"m") + box(b"moov", content),
    ):
        path.write_bytes(data)
        with pytest.raises(MediaInvalid):
            inspect(path)


@pytest.mark.slow
def test_every_number_of_the_index_may_be_wrong(film: bytes, fragments: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.mp4"
    for whole, (start, end) in ((film, edges(film)[-2:]), (fragments, edges(fragments)[0:3:2])):
        path.write_bytes(whole)
        with path.open("r+b", buffering=0) as file:
            for at, wrong in zip(
                range(start, end - 3, 2), cycle([words(0), words(1), words(0xFFFF_FFFF)]), strict=False
            ):
                file.seek(at)
                file.write(wrong)
                assert judged(path)
                file.seek(at)
                file.write(whole[at : at + 4])


# What stands in the place of the media


def _with_media(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    return b"".join(box(kind, change(inside) if kind == b"mdat" else inside) for kind, inside in split(data))


@pytest.mark.parametrize("layout", get_args(Layout))
@pytest.mark.parametrize("codec", get_args(Codec))
def test_zeros_or_other_bytes_in_the_place_of_the_pictures_are_seen(
    codec: Codec, layout: Layout, look: Look, tmp_path: Path
) -> None:
    film = make(tmp_path / "film.mp4", codec=codec, size=(64, 32), layout=layout, sound=False).read_bytes()
    assert look(_with_media(film, bytes)).codec == {"libx264": "h264", "libx265": "h265"}[codec]
    for change in (
        lambda media: media[: len(media) * 3 // 4] + bytes(len(media) - len(media) * 3 // 4),
        lambda media: bytes(len(media)),
        lambda media: media[len(media) // 2 :] + media[: len(media) // 2],
        lambda media: bytes(byte ^ 0xFF for byte in media),
    ):
        with pytest.raises(MediaInvalid, match="where a picture should begin there is something else"):
            look(_with_media(film, change))


def test_a_picture_that_was_dropped_and_sizes_that_are_not_told_are_let_pass(film: bytes, look: Look) -> None:
    def dropped(stsz: bytes) -> bytes:
        return stsz[:16] + words(0) + stsz[20:]

    assert look(edited(film, b"stsz", dropped)).codec == "h264"


def test_no_more_pictures_are_looked_at_than_a_film_has(
    film: bytes, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied = _with_media(film, lambda media: media[:-200] + bytes(200))
    with pytest.raises(MediaInvalid):
        look(_with_media(film, lambda media: bytes(len(media))))
    monkeypatch.setattr(mp4, "MAX_PICTURES", 0)
    assert look(emptied).codec == "h264"
