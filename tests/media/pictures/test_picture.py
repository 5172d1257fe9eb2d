"""What a picture's file really is, held against Pillow, and what is none or not whole."""

import itertools
import random
import re
import resource
import struct
import time
import zlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import pillow_heif
import pytest
from PIL import Image

from tests.support.downloads import MUSIC, PAGE, VIDEO
from tests.support.hostile_files import fuzz, fuzz_seconds, seconds_to_cancel
from tests.support.make_pictures import PICTURES, SIZE, box, chunk, grid, noise
from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.pictures import png, reading
from tikhub_mcp.media.pictures.picture import Picture, PictureFormat, inspect_picture, inspect_picture_file

FUZZ_SECONDS = fuzz_seconds(0.5)
EXTENSIONS: dict[str, tuple[PictureFormat, str]] = {
    "JPEG": ("jpeg", ".jpg"),
    "WebP": ("webp", ".webp"),
    "PNG": ("png", ".png"),
    "HEIC": ("heic", ".heic"),
}
JPEGS = [name for name in PICTURES if name.startswith("JPEG")]
_made: dict[str, bytes] = {}


def made(name: str) -> bytes:
    if name not in _made:
        _made[name] = PICTURES[name]()
    return _made[name]


def look(content: bytes) -> Picture:
    return inspect_picture_file(BytesIO(content))


def reason(content: bytes) -> str:
    """Why a file is refused, or that it is not."""
    try:
        return f"accepted: {look(content)}"
    except MediaInvalid as invalid:
        return invalid.message


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_a_whole_picture_has_the_size_that_pillow_finds(name: str) -> None:
    found = look(made(name))
    with Image.open(BytesIO(made(name))) as picture:
        picture.load()
        assert (found.width, found.height) == picture.size
    assert (found.format, found.extension) == EXTENSIONS[name.split()[0]]
    assert found.video_at is None


@pytest.mark.parametrize("name", PICTURES)
def test_of_60_cuts_20_tails_and_a_missing_first_byte_none_passes(name: str) -> None:
    chance, whole = random.Random(name), made(name)
    cuts = {*range(len(whole) - 20, len(whole)), *chance.sample(range(len(whole) - 20), 40)}
    spoiled = [whole[:cut] for cut in cuts]
    spoiled += [whole + chance.randbytes(chance.choice([1, 2, 8, 100, 5000])) for _ in range(16)]
    spoiled += [whole + bytes(8), whole + whole, whole + PAGE, whole + b"\xff\xd9", whole[1:]]
    for content in spoiled:
        with pytest.raises(MediaInvalid):
            look(content)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PICTURES if name.startswith(("JPEG", "PNG"))])
def test_other_bytes_in_the_place_of_the_last_ones_are_seen(name: str) -> None:
    chance, whole = random.Random(name), made(name)
    for at in [len(whole) - 1, *chance.sample(range(20, len(whole)), 19)]:
        with pytest.raises(MediaInvalid):
            look(whole[:at] + chance.randbytes(len(whole) - at))


@pytest.mark.parametrize("name", ["JPEG baseline", "WebP alpha", "PNG", "HEIC", "HEIC grid"])
def test_a_whole_video_may_follow_and_a_part_of_one_may_not(name: str) -> None:
    whole = made(name)
    found = look(whole + VIDEO)
    assert found.video_at == len(whole)
    assert (found.width, found.height) == SIZE
    for tail in (VIDEO[:-1], VIDEO[1:], VIDEO + b"\0", VIDEO[:5000], MUSIC, VIDEO * 2):
        with pytest.raises(MediaInvalid):
            look(whole + tail)


def test_a_file_on_disk_is_read_and_what_the_system_refuses_stays_its_error(tmp_path: Path) -> None:
    (tmp_path / "01.heic").write_bytes(made("JPEG baseline"))
    assert inspect_picture(tmp_path / "01.heic").extension == ".jpg"
    with pytest.raises(FileNotFoundError):
        inspect_picture(tmp_path / "nothing.jpg")


# What is no picture


@pytest.mark.parametrize(
    ("content", "why", "for_good"),
    [
        (b"", "it is empty", False),
        (PAGE, "a web page or XML", False),
        (b"\xef\xbb\xbf \n<!DOCTYPE html>", "a web page or XML", False),
        (b'{"secret": "x"}', "JSON", False),
        (VIDEO, "a video or sound", True),
        (MUSIC, "a video or sound", True),
        (b"GIF89a" + bytes(50), "a GIF", True),
        (box(b"ftyp", b"avif", bytes(4), b"mif1avif"), "AVIF", True),
        (bytes(5000), "no picture in a known format", False),
        (b"RIFF\x04\0\0\0WAVE", "no picture in a known format", False),
        (b"secret", "no picture in a known format", False),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(content: bytes, why: str, for_good: bool) -> None:
    with pytest.raises(MediaInvalid, match=why) as caught:
        look(content)
    assert "secret" not in caught.value.message
    assert caught.value.refused_content == for_good


# JPEG


def scan_data(jpeg: bytes, number: int = 0) -> int:
    """Where the data of a scan begins."""
    at = -1
    for _ in range(number + 1):
        at = jpeg.index(b"\xff\xda", at + 1)
    return at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")


@pytest.mark.parametrize("piece", [2, 3, 7, 64])
@pytest.mark.parametrize("name", JPEGS)
def test_a_marker_is_found_across_pieces(name: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = look(made(name))
    monkeypatch.setattr(reading, "_FIRST_PIECE", piece)
    monkeypatch.setattr(reading, "PIECE", piece)
    assert look(made(name)) == whole


def test_bytes_that_fill_up_before_a_marker_are_stepped_over() -> None:
    jpeg = made("JPEG baseline")
    tables = jpeg.index(b"\xff\xdb")
    filled = jpeg[:tables] + b"\xff" * 5 + jpeg[tables:-2] + b"\xff" * 5 + jpeg[-2:]
    assert look(filled) == look(jpeg)


@pytest.mark.parametrize("name", ["JPEG restarts", "JPEG progressive restarts"])
def test_a_missing_part_between_restart_markers_is_seen(name: str) -> None:
    jpeg = made(name)
    starts = [at for at in range(scan_data(jpeg), len(jpeg)) if jpeg[at] == 0xFF and 0xD0 <= jpeg[at + 1] <= 0xD7]
    for first, second in itertools.pairwise(starts):
        assert "cut" in reason(jpeg[:first] + b"\xff\xd9")
        assert "restart marker" in reason(jpeg[:first] + jpeg[second:])
    assert "restart marker" in reason(jpeg[:-2] + b"\xff\xd0" * 9 + jpeg[-2:])
    assert "restart marker" in reason(jpeg.replace(b"\xff\xdd\0\4", b"\xff\xfe\0\4"))
    without = made("JPEG baseline")
    assert "restart marker" in reason(without[:-2] + b"\xff\xd0" + without[-2:])


def test_a_restart_marker_after_the_last_unit_is_let_pass() -> None:
    jpeg = made("JPEG restarts")
    last = max(jpeg.rfind(bytes([0xFF, code])) for code in range(0xD0, 0xD8))
    assert look(jpeg[:-2] + bytes([0xFF, 0xD0 + (jpeg[last + 1] + 1) % 8]) + jpeg[-2:]) == look(jpeg)


@pytest.mark.parametrize("name", ["JPEG progressive", "JPEG progressive gray", "JPEG flat progressive"])
def test_a_progressive_picture_needs_all_of_its_scans(name: str) -> None:
    jpeg = made(name)
    scans = [scan_data(jpeg, number) for number in range(1, jpeg.count(b"\xff\xda"))]
    assert len(scans) >= 5
    for scan in scans:
        header = jpeg.rindex(b"\xff\xda", 0, scan)
        assert "cut" in reason(jpeg[:header] + b"\xff\xd9")
    headers = [jpeg.rindex(b"\xff\xda", 0, scan_data(jpeg, number)) for number in range(jpeg.count(b"\xff\xda"))]
    pieces = [jpeg[start:end] for start, end in itertools.pairwise([*headers, len(jpeg) - 2])]
    of_details = [piece for piece in pieces if piece[5 + 2 * piece[4]]]  # the first coefficient in none of them
    assert "cut" in reason(jpeg[: headers[0]] + b"".join(of_details) + b"\xff\xd9")


def test_a_baseline_picture_needs_a_scan_of_every_component_and_bits_for_every_block() -> None:
    jpeg = made("JPEG baseline")
    start = scan_data(jpeg)
    header = jpeg.rindex(b"\xff\xda", 0, start)
    assert "cut" in reason(jpeg[:header] + b"\xff\xd9")
    assert "cut" in reason(jpeg[: start + 40] + b"\xff\xd9")
    assert "cut" in reason(jpeg[:header] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + jpeg[start:])


def replaced_at(jpeg: bytes, marker: bytes, offset: int, new: bytes) -> bytes:
    at = jpeg.index(marker) + offset
    return jpeg[:at] + new + jpeg[at + len(new) :]


@pytest.mark.parametrize(
    ("marker", "offset", "new", "why"),
    [
        (b"\xff\xc0", 5, b"\0\0", "width or height is 0"),
        (b"\xff\xc0", 7, b"\0\0", "width or height is 0"),
        (b"\xff\xc0", 5, b"\xff\xff\xff\xff", "larger than"),
        (b"\xff\xc0", 4, b"\x0c", "more than 8 bits"),
        (b"\xff\xc0", 9, b"\4", "damaged"),
        (b"\xff\xc0", 11, b"\0", "damaged"),
        (b"\xff\xc0", 13, b"\1", "damaged"),
        (b"\xff\xc0", 1, b"\xc9", "viewers do not show"),
        (b"\xff\xc0", 1, b"\xfe", "damaged"),
        (b"\xff\xc4", 1, b"\xc0", "damaged"),
        (b"\xff\xc4", 1, b"\xd8", "damaged"),
        (b"\xff\xc4", 1, b"\x02", "damaged"),
        (b"\xff\xdb", 2, b"\0\1", "damaged"),
        (b"\xff\xda", 5, b"\x77", "damaged"),
        (b"\xff\xda", 4, b"\5", "damaged"),
    ],
)
def test_a_jpeg_header_that_cannot_be_right_is_refused(marker: bytes, offset: int, new: bytes, why: str) -> None:
    assert why in reason(replaced_at(made("JPEG baseline"), marker, offset, new))


# WebP


def riff(*content: bytes) -> bytes:
    inside = b"WEBP" + b"".join(content)
    return b"RIFF" + struct.pack("<I", len(inside)) + inside


def part(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)


def parts(webp: bytes) -> dict[bytes, bytes]:
    found, at = {}, 12
    while at < len(webp):
        size = struct.unpack_from("<I", webp, at + 4)[0]
        found[webp[at : at + 4]] = webp[at + 8 : at + 8 + size]
        at += 8 + size + (size & 1)
    return found


@pytest.fixture(scope="module")
def four_partitions() -> bytes:
    """A lossy picture, as libvpx writes it when asked for four partitions."""
    with av.open(BytesIO(), "w", format="webm") as container:
        video = container.add_stream("libvpx", rate=1, options={"slices": "4", "crf": "10", "b": "2M"})
        video.width, video.height, video.time_base = 96, 128, Fraction(1)
        frame = av.VideoFrame(96, 128, "gray8")
        frame.planes[0].update(noise("L").resize((96, 128)).tobytes())
        packets = [*video.encode(frame.reformat(format="yuv420p")), *video.encode(None)]
        return bytes(packets[0])


def test_all_partitions_of_a_lossy_picture_are_there(four_partitions: bytes) -> None:
    whole = riff(part(b"VP8 ", four_partitions))
    with Image.open(BytesIO(whole)) as picture:
        picture.load()
        assert (look(whole).width, look(whole).height) == picture.size == (96, 128)
    table = 10 + (int.from_bytes(four_partitions[:3], "little") >> 5)
    sizes = [int.from_bytes(four_partitions[table + at : table + at + 3], "little") for at in (0, 3, 6)]
    last = table + 9 + sum(sizes)
    assert min(sizes) > 0
    assert last < len(four_partitions)
    assert look(riff(part(b"VP8 ", four_partitions[: last + 1])))  # its last partition has no length of its own
    for end in (10, 30, table, table + 8, table + 9 + sizes[0], last):
        assert "cut" in reason(riff(part(b"VP8 ", four_partitions[:end])))


def test_a_webp_without_its_last_padding_byte_passes_if_its_length_says_so() -> None:
    lossless = parts(made("WebP lossless"))[b"VP8L"]
    chunk_ = part(b"VP8L", lossless) + part(b"XMP ", b"odd")
    assert look(riff(chunk_)) == look(riff(chunk_[:-1])) == Picture("webp", *SIZE, None)


def test_webp_chunks_that_do_not_fit_together_are_refused() -> None:
    lossy, alpha = parts(made("WebP lossy"))[b"VP8 "], parts(made("WebP alpha"))
    animated, lossless = parts(made("WebP animated")), parts(made("WebP lossless"))[b"VP8L"]
    canvas, frame = animated[b"VP8X"], animated[b"ANMF"]
    head, vp8, alph = part(b"VP8X", alpha[b"VP8X"]), part(b"VP8 ", alpha[b"VP8 "]), part(b"ALPH", alpha[b"ALPH"])
    assert look(riff(head, alph, vp8))
    assert look(riff(head, part(b"ALPH", b"\0" + bytes(SIZE[0] * SIZE[1])), vp8))
    assert look(riff(part(b"VP8 ", lossy), part(b"junk", b"ignored")))
    assert look(riff(part(b"VP8X", canvas), part(b"ANMF", frame)))
    for damaged in (
        riff(),
        riff(head),
        riff(head, alph),
        riff(alph, vp8),
        riff(head, vp8, vp8),
        riff(head, part(b"ALPH", b"\0" + bytes(SIZE[0] * SIZE[1] - 1)), vp8),
        riff(head, part(b"ALPH", b"\1"), vp8),
        riff(head, part(b"ALPH", b"\2\0"), vp8),
        riff(part(b"VP8X", alpha[b"VP8X"][:4] + bytes(6)), vp8),
        riff(part(b"VP8X", canvas)),
        riff(part(b"VP8X", canvas), vp8),
        riff(part(b"VP8X", canvas), part(b"ANMF", frame[:16])),
        riff(part(b"VP8X", canvas), part(b"ANMF", b"\1" + frame[1:])),
        riff(part(b"VP8X", canvas), part(b"ANMF", frame[:6] + b"\1" + frame[7:])),
        riff(part(b"VP8X", canvas), part(b"ANMF", frame[:-2])),
        riff(part(b"VP8 ", b"\1" + lossy[1:])),
        riff(part(b"VP8 ", lossy[:3] + bytes(3) + lossy[6:])),
        riff(part(b"VP8 ", lossy[:6] + bytes(4) + lossy[10:])),
        riff(part(b"VP8X", canvas), part(b"ANMF", frame[:3] + b"\1" + frame[4:])),
        riff(part(b"VP8L", lossy)),
        riff(part(b"VP8L", lossless[:4] + bytes([lossless[4] | 0x20]) + lossless[5:])),  # another version
        riff(part(b"VP8 ", lossy), b"JUNK"),
    ):
        assert "accepted" not in reason(damaged)


# PNG


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        size = struct.unpack_from(">I", data, at)[0]
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def joined(*parts_: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in parts_)


def test_png_data_is_as_long_as_its_pixels() -> None:
    head, *_, end = chunks(made("PNG"))
    rows = (1 + 3 * SIZE[0]) * SIZE[1]
    for size, whole in ((rows, True), (rows - 1, False), (rows + 1, False), (0, False), (10**7, False)):
        data = zlib.compress(bytes(size))
        assert ("accepted" in reason(joined(head, (b"IDAT", data), end))) == whole
    data = zlib.compress(bytes(rows))
    halves = (b"IDAT", data[:9]), (b"IDAT", data[9:])
    assert look(joined(head, *halves, (b"IDAT", b""), (b"tEXt", b"a\0b"), end))
    for damaged in (
        joined(head, end),
        joined(head, halves[0], end),
        joined(head, halves[0], (b"tEXt", b"a\0b"), halves[1], end),
        joined(head, *halves, (b"IDAT", b"more"), end),
        joined(head, (b"IDAT", data[:-4]), end),  # without the checksum of the compressed data
        joined((b"IHDX", head[1]), *halves, end),
        joined((b"IHDR", head[1][:9] + b"\3\0\0\0"), (b"IDAT", zlib.compress(bytes((1 + SIZE[0]) * SIZE[1]))), end),
        joined(head, *halves),
        joined(head, (b"NEED", b""), *halves, end),
        joined(head, head, *halves, end),
        joined(head, (b"t<xt", b""), *halves, end),
        joined(*halves, end),
        joined((b"IHDR", head[1][:9] + b"\3\0\0\0"), *halves, end),
        joined((b"IHDR", head[1][:8] + b"\7\2\0\0\0"), *halves, end),
        joined((b"IHDR", head[1][:12] + b"\2"), *halves, end),
        joined((b"IHDR", bytes(4) + head[1][4:]), *halves, end),
    ):
        assert "accepted" not in reason(damaged)


def test_every_checksum_of_a_png_counts() -> None:
    whole, at = made("PNG palette"), 8
    for _, content in chunks(whole):
        at += 12 + len(content)
        assert "checksum" in reason(whole[: at - 1] + bytes([whole[at - 1] ^ 1]) + whole[at:])


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 5), (8, 8), (9, 4)])
def test_a_small_interlaced_png_has_fewer_passes(size: tuple[int, int]) -> None:
    head = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 1)
    for length in range(200):
        data = joined((b"IHDR", head), (b"IDAT", zlib.compress(bytes(length))), (b"IEND", b""))
        by_pillow = True
        try:
            with Image.open(BytesIO(data)) as picture:
                picture.load()
        except (OSError, SyntaxError):
            by_pillow = False
        if "accepted" in reason(data):
            assert by_pillow
            break
    else:
        pytest.fail("no length is right")


# HEIC


def test_heic_items_lie_in_the_media_data() -> None:
    whole = made("HEIC grid")
    at = whole.index(b"mdat") + 4
    hole = whole[:at] + bytes(len(whole) - at)
    assert "something else" in reason(hole)
    assert "not in the file" in reason(whole[: at - 4] + b"free" + whole[at:])
    moved = whole[: at - 8] + box(b"free", bytes(len(whole) - at)) + whole[at - 8 :]
    assert "not in the file" in reason(moved)
    assert "has no 'meta' box" in reason(whole.replace(b"meta", b"free", 1))
    size = whole.index(struct.pack(">HHHH", 2, 0, 0, 1)) + 12  # of a tile
    for wrong in (0, len(whole)):
        assert "not in the file" in reason(whole[:size] + struct.pack(">I", wrong) + whole[size + 4 :])
    meta = whole.index(b"meta") - 4
    assert "damaged" in reason(whole + whole[meta : meta + struct.unpack_from(">I", whole, meta)[0]])


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"hvc1", b"av01", "not coded in H.265"),
        (b"hvcC", b"free", "damaged"),
        (b"pitm", b"free", "damaged"),
        (b"idat", b"free", "not in the file"),
        (b"dimg", b"free", "damaged"),
        (b"iprp", b"free", "damaged"),
        (b"iloc", b"free", "damaged"),
        (b"\0\0\1\2\0\x75\0\x53", b"\0\0\1\1\0\x75\0\x53", "damaged"),  # of the grid: fewer columns
        (b"\0\0\1\2\0\x75\0\x53", b"\0\0\1\2\0\x74\0\x53", "damaged"),  # of the grid: another width
        (struct.pack(">II", 64, 64), struct.pack(">II", 32, 64), "damaged"),  # of the tiles
        (struct.pack(">HH4s", 2, 0, b"hvc1"), struct.pack(">HH4s", 2, 1, b"hvc1"), "encrypted"),
        (struct.pack(">HHHH", 2, 0, 0, 1), struct.pack(">HHHH", 2, 0, 1, 1), "in other files"),
        (b"\2\x82\3", b"\2\x82\4", "damaged"),  # a property that is not there
    ],
)
def test_a_heic_index_that_cannot_be_right_is_refused(old: bytes, new: bytes, why: str) -> None:
    assert made("HEIC grid").count(old)
    assert why in reason(made("HEIC grid").replace(old, new))


def test_pillow_heif_takes_the_grid_for_the_same_picture() -> None:
    assert pillow_heif.open_heif(grid(box(b"irot", b"\1"))).size == (SIZE[1], SIZE[0])


# Files that are made to cost memory and time


def test_a_file_of_very_many_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PARTS", 1000)
    jpeg, lossy = made("JPEG restarts"), part(b"VP8 ", parts(made("WebP lossy"))[b"VP8 "])
    start, head = scan_data(jpeg), chunks(made("PNG"))[0]
    large = replaced_at(jpeg, b"\xff\xc0", 5, struct.pack(">HH", 9000, 9000))
    restarts = b"".join(bytes([0xFF, 0xD0 + number % 8]) for number in range(2000))
    for content in (
        jpeg[:2] + b"\xff\xfe\0\2" * 2000 + jpeg[2:],
        b"\xff\xd8" + b"\xff" * 2000,
        large[:start] + restarts + jpeg[start:],
        riff(lossy, part(b"junk", b"") * 2000),
        joined(head, *[(b"tEXt", b"")] * 2000),
    ):
        assert "more than 1,000,000 parts" in reason(content) or "more than 1,000 parts" in reason(content)


def bomb(side: int = 16_384) -> bytes:
    """A PNG of a quarter of a megabyte for 268 million pixels."""
    pack = zlib.compressobj(1)
    row = bytes(1 + side // 8) * 64
    data = b"".join(pack.compress(row) for _ in range(side // 64)) + pack.flush()
    return joined((b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))


def test_very_many_items_in_very_many_places_take_no_time() -> None:
    def file(media: int) -> bytes:
        item = struct.pack(">HHH", 1, 0, 10_000) + struct.pack(">II", media, 1) * 10_000
        iloc = box(b"iloc", bytes(4), struct.pack(">HH", 0x4400, 1), item)
        names = [box(name, bytes(4), bytes(2)) for name in (b"pitm", b"iinf")]
        return box(b"ftyp", b"heic", bytes(4), b"mif1heic") + box(b"meta", bytes(4), *names, iloc) + holes

    holes = box(b"mdat", b"x") * 20_000
    content, before = file(len(file(0)) - 1), time.thread_time()
    assert "index is damaged" in reason(content)  # there are no properties; the places are right
    assert time.thread_time() - before < 3


@pytest.mark.slow
def test_compressed_data_is_never_in_memory_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(
        png, "check_cancelled", lambda: sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    )
    assert look(bomb()) == Picture("png", 16_384, 16_384, None)
    assert len(sizes) > 30  # pieces
    assert sizes[-1] - sizes[0] < 16 << 10  # in KiB, half of the data
    assert "larger than" in reason(bomb(16_448))


def test_verification_ends_when_its_caller_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PARTS", 1 << 40)
    path = tmp_path / "file"
    path.write_bytes(b"\xff\xd8" + b"\xff\xfe\0\2" * (3 << 20))
    assert seconds_to_cancel(inspect_picture, path, after=0.1) < 1


@pytest.mark.slow
@pytest.mark.timeout(60 + 2 * FUZZ_SECONDS)
def test_mutated_pictures_give_a_picture_or_media_invalid_within_seconds() -> None:
    def look(content: bytes) -> None:
        found = reason(content)
        assert "accepted" in found or set(re.findall("'(.*?)'", found)) <= {"ftyp", "meta", "mdat", "free"}

    def headers(content: bytes) -> list[range]:
        return [range(40), range(700), range(len(content))]

    fuzz([made(name) for name in PICTURES], look, FUZZ_SECONDS, [b"\xff\xda", b"\0\0\0\x08"], headers)
